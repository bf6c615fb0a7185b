// Files of checkpoints where there is no browser: servers that fail or lie, and sources of all kinds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { download } from "../../bindings/web/src/js/download.js";
import { fetched } from "../../bindings/web/src/js/files.js";

const FILES = { "config.json": "{}", "preprocessor_config.json": '{"image_mean": [0, 0, 0]}', "model.safetensors": "weights" };

/** Returns a cache in memory. */
function store() {
  const kept = new Map();
  return { kept, match: async (url) => kept.get(url)?.clone(), put: async (url, response) => void kept.set(url, new Response(await response.blob(), response)) };
}

/** Returns a `fetch` of files, of which `answer(file)` may answer in their place, and the files that it was asked for. */
function server(answer) {
  const asked = [];
  const fetch = async (url) => {
    const file = url.split("/").at(-1);
    asked.push(file);
    return answer?.(file) ?? (file in FILES ? new Response(FILES[file]) : new Response(null, { status: 404 }));
  };
  return { asked, fetch };
}

const URL_OF_MODEL = "http://127.0.0.1/model/";
const page = (status) => new Response("<html>", { status, headers: { "content-type": "text/html; charset=utf-8" } });

for (const status of [401, 429, 502, 503]) {
  test(`a page of a gateway with status ${status} is no missing file`, async () => {
    for (const broken of Object.keys(FILES)) {
      const { fetch } = server((file) => (file === broken ? page(status) : undefined));
      await assert.rejects(fetched(URL_OF_MODEL, { fetch, cache: store() }), { kind: "network", message: new RegExp(`${broken}: ${status}`) });
    }
  });
}

test("a page in place of a file, and status 404, are missing files", async () => {
  for (const absent of [() => page(200), () => page(404), () => new Response(null, { status: 403 })]) {
    const { fetch } = server((file) => (file.includes("processor") ? absent() : undefined));
    assert.deepEqual([...(await fetched(URL_OF_MODEL, { fetch, cache: store() })).files.keys()], ["config.json", "model.safetensors"]);
  }
});

test("what progress throws ends the load as it is, without another request", async () => {
  const mine = new Error("mine");
  const throwsAt = (name) => ({ file }) => {
    if (file === name) throw mine;
  };
  const isMine = (error) => error === mine;
  for (const cache of [store(), undefined]) {
    const { asked, fetch } = server();
    await assert.rejects(fetched(URL_OF_MODEL, { fetch, cache, progress: throwsAt("model.safetensors") }), isMine);
    assert.deepEqual(asked, ["config.json", "preprocessor_config.json", "processor_config.json", "model.safetensors"]);
  }
  await assert.rejects(fetched({ config: {}, weights: new Blob(["weights"]).stream() }, { progress: throwsAt("model.safetensors") }), isMine);
  // From the cache.
  const [cache, { asked, fetch }] = [store(), server()];
  await fetched(URL_OF_MODEL, { fetch, cache });
  asked.length = 0;
  await assert.rejects(fetched(URL_OF_MODEL, { fetch, cache, progress: throwsAt("config.json") }), isMine);
  assert.deepEqual(asked, []);
});

test("the signal of a load stops it beside a progress", async () => {
  const controller = new AbortController();
  const { asked, fetch } = server();
  const loading = fetched(URL_OF_MODEL, { fetch, cache: store(), signal: controller.signal, progress: () => controller.abort("enough") });
  await assert.rejects(loading, (reason) => reason === "enough");
  assert.deepEqual(asked, ["config.json"]);
});

const LARGE = Uint8Array.from({ length: 100 }, (_, i) => i);

const partial = ([said, body]) => new Response(body, { status: 206, headers: { etag: "a", "content-range": `bytes ${said}` } });

/** Returns a download of the large file in the ranges of `range(start)`, of which each is what the server says and what it sends, and where those asked for begin. */
function ranges(range, cache = store(), whole = () => new Response(LARGE, { headers: { etag: "a" } })) {
  const asked = [];
  const fetch = async (_, { headers }) => {
    const start = headers ? Number(/^bytes=(\d+)-/.exec(headers.range)[1]) : undefined;
    asked.push(start);
    assert.ok(asked.length < 50, "requests without end");
    return start === undefined ? whole() : partial(range(start));
  };
  return { asked, cache, blob: download(new URL("http://127.0.0.1/model.safetensors"), { isLarge: true, fetch, cache, arrived: () => undefined }) };
}

/** Ranges of 40 bytes at most. */
const capped = (start) => {
  const end = Math.min(start + 39, 99);
  return [`${start}-${end}/100`, LARGE.subarray(start, end + 1)];
};
const bytes = async (blob) => new Uint8Array(await (await blob).arrayBuffer());

test("parts of servers that cap ranges are kept", async () => {
  const { asked, cache, blob } = ranges(capped);
  assert.deepEqual([await bytes(blob), asked], [LARGE, [0, 40, 80]]);
  const again = ranges(capped, cache);
  assert.deepEqual([await bytes(again.blob), again.asked], [LARGE, []]);
});

test("after a kept part that ended early, the next begins where it ends", async () => {
  const { cache, blob } = ranges((start) => (start === 40 ? ["40-79/100", LARGE.subarray(40, 50)] : capped(start)));
  await assert.rejects(blob, { kind: "network", message: /ended early/ });
  const again = ranges(capped, cache);
  assert.deepEqual([await bytes(again.blob), again.asked], [LARGE, [50, 90]]);
});

test("ranges that are empty or beyond the file are not joined", async () => {
  for (const said of ["10-9/100", "10-100/100", "10-19/15", "9-19/100"]) {
    const { asked, blob } = ranges((start) => (start ? [said, LARGE.subarray(10, 20)] : ["0-9/100", LARGE.subarray(0, 10)]));
    await assert.rejects(blob, { kind: "network" }, said);
    assert.ok(asked.length < 10, `${said}: ${asked}`);
  }
  // Nor is a range that nobody asked for.
  const unasked = ranges((start) => (start ? ["10-9/100", LARGE.subarray(10, 20)] : capped(0)), store(), () => partial(capped(0)));
  await assert.rejects(unasked.blob, { kind: "network" });
  const { asked, blob } = ranges(() => ["0-9/0", LARGE.subarray(0, 10)]);
  assert.deepEqual([await bytes(blob), asked], [LARGE, [0, undefined]]);
});

test("files need names, but no paths", async () => {
  const files = [new File(["{}"], "config.json"), new File(["weights"], "model.safetensors")];
  assert.deepEqual((await fetched(files, {})).name, "model");
  const [outer, inner] = ["models/tiny/config.json", "models/tiny/old/config.json"].map((path) => Object.assign(new File([path], "config.json"), { webkitRelativePath: path }));
  const found = await fetched([inner, outer, files[1]], {});
  assert.deepEqual([found.name, await found.files.get("config.json").text()], ["tiny", "models/tiny/config.json"]);
  for (const others of [[new Blob(["{}"]), new Blob(["weights"])], [1, 2], [null]]) {
    await assert.rejects(fetched(others, {}), { name: "VitrauxError", kind: "argument", message: /files with names/ });
  }
});

test("a preprocessor of null is none", async () => {
  const { files } = await fetched({ config: {}, weights: new Blob(["weights"]), preprocessor: null }, {});
  assert.deepEqual([...files.keys()], ["config.json", "model.safetensors"]);
});
