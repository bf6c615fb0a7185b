// Files of checkpoints: from the cache, resumed, in shards, given, and stopped.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkpoint } from "./random.mjs";
import { open } from "./setup.mjs";

/** A file of three parts, of which the server may break one off, or change. */
const LARGE = Buffer.from(Uint32Array.from({ length: 20 << 20 }, (_, i) => Math.imul(i, 2654435761)).buffer);
const large = { breaksAt: Infinity, version: "a", served: 0, hasRanges: true, tellsRanges: true };

const shards = [(name) => !name.startsWith("blocks."), (name) => name.startsWith("blocks.")].map((names) => checkpoint("vit_tiny_patch16_224", names));
const files = {
  "/sharded/config.json": Buffer.from(JSON.stringify(shards[0].config)),
  "/elsewhere/config.json": Buffer.from(JSON.stringify(shards[0].config)),
  "/elsewhere/model.safetensors.index.json": Buffer.from(JSON.stringify({ weight_map: { norm: "../sharded/one.safetensors" } })),
  "/sharded/one.safetensors": shards[0].weights,
  "/sharded/two.safetensors": shards[1].weights,
  "/sharded/model.safetensors.index.json": Buffer.from(
    JSON.stringify({ weight_map: Object.fromEntries(shards.flatMap(({ tensors }, i) => tensors.map((name) => [name, ["one", "two"][i] + ".safetensors"]))) }),
  ),
};

function answer(path, request, response) {
  if (path === "/large/model.safetensors") {
    const asked = large.hasRanges && /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const [start, end] = asked ? [Number(asked[1]), Math.min(Number(asked[2]), LARGE.length - 1)] : [0, LARGE.length - 1];
    const headers = { etag: large.version, "content-length": end - start + 1 };
    response.writeHead(asked ? 206 : 200, asked && large.tellsRanges ? { ...headers, "content-range": `bytes ${start}-${end}/${LARGE.length}` } : headers);
    const stop = Math.min(end + 1, large.breaksAt);
    large.served += Math.max(0, stop - start);
    response.write(LARGE.subarray(start, stop), () => (stop <= end ? response.destroy() : response.end()));
    return true;
  }
  if (path.startsWith("/endless/")) {
    // A file that never ends.
    response.writeHead(200, { "content-length": 1e9 }).write(Buffer.alloc(1 << 20));
    return true;
  }
  if (!(path in files)) return false;
  response.writeHead(200, { "content-length": files[path].length }).end(files[path]);
  return true;
}

const { page, requests, server } = await open({ answer });
await page.evaluate(async () => {
  const { download } = await import("/dist/download.js");
  globalThis.large = async () => {
    const progress = [];
    const blob = await download(new URL("/large/model.safetensors", location.href), { isLarge: true, arrived: (loaded, total) => progress.push([loaded, total]) });
    const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
    return { size: blob.size, digest: [...new Uint8Array(digest)], last: progress.at(-1), isOrdered: progress.every(([loaded], i) => i === 0 || loaded >= progress[i - 1][0]) };
  };
});
const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", LARGE))];

test("a download goes on where it stopped", async () => {
  large.breaksAt = 50e6;
  const failed = await page.evaluate(() => failure(globalThis.large()));
  assert.deepEqual([failed.name, failed.kind], ["VitrauxError", "network"], JSON.stringify(failed));
  Object.assign(large, { breaksAt: Infinity, served: 0 });
  const whole = await page.evaluate(() => globalThis.large());
  assert.deepEqual([whole.size, whole.digest, whole.last, whole.isOrdered], [LARGE.length, digest, [LARGE.length, LARGE.length], true]);
  assert.equal(large.served, LARGE.length - (32 << 20));
  large.served = 0;
  assert.deepEqual((await page.evaluate(() => globalThis.large())).digest, digest);
  assert.equal(large.served, 0);
});

test("a file that has changed is downloaded whole", async () => {
  await page.evaluate(async () => {
    const cache = await caches.open("vitraux");
    const last = (await cache.keys()).find(({ url }) => url.includes(`vitraux-from=${64 << 20}`));
    await cache.delete(last);
  });
  Object.assign(large, { version: "b", served: 0 });
  assert.deepEqual((await page.evaluate(() => globalThis.large())).digest, digest);
  // The part that told of it is asked for again.
  assert.ok(large.served >= LARGE.length, `${large.served} bytes`);
});

test("a server without ranges is asked for whole files", async () => {
  await page.evaluate(() => caches.delete("vitraux"));
  Object.assign(large, { hasRanges: false, served: 0 });
  const whole = await page.evaluate(() => globalThis.large());
  assert.deepEqual([whole.digest, large.served], [digest, LARGE.length]);
});

test("a server that hides which bytes it sends is asked for whole files", async () => {
  await page.evaluate(() => caches.delete("vitraux"));
  Object.assign(large, { hasRanges: true, tellsRanges: false });
  assert.deepEqual((await page.evaluate(() => globalThis.large())).digest, digest);
});

test("files come from the cache the second time", async () => {
  const load = (cache) =>
    page.evaluate(async (cache) => {
      const progress = [];
      const kept = new Map();
      const own = { match: async (url) => kept.get(url)?.clone(), put: async (url, response) => void kept.set(url, new Response(await response.blob(), response)) };
      const options = { device: "cpu", progress: (step) => progress.push(step) };
      for (let i = 0; i < 2; i++) (await Vitraux.load(new URL("/digits/", location.href), cache ? { ...options, cache: own } : options)).dispose();
      return { progress, kept: kept.size };
    }, cache);
  const count = () => requests.get("/digits/model.safetensors") ?? 0;
  const { progress } = await load(false);
  assert.equal(count(), 1);
  const last = progress.filter(({ file }) => file === "model.safetensors").at(-1);
  assert.ok(last.loaded === last.total && last.total > 100_000, JSON.stringify(last));
  const { kept } = await load(true);
  assert.ok(count() === 2 && kept === 2, `${count()} requests, ${kept} files kept`);
});

test("a cache without room does not stop a download", async () => {
  const label = await page.evaluate(async () => {
    const full = { match: async () => undefined, put: async () => Promise.reject(new DOMException("full", "QuotaExceededError")) };
    const model = await Vitraux.load(new URL("/digits/", location.href), { device: "cpu", cache: full });
    const [best] = await model.classify(await image("/samples/handwritten-3.png"));
    model.dispose();
    return best.label;
  });
  assert.equal(label, "3");
});

test("checkpoints are opened from blobs, streams, files and other hosts' names", async () => {
  const labels = await page.evaluate(async () => {
    const [config, weights] = await Promise.all(["config.json", "model.safetensors"].map((file) => image(`/digits/${file}`)));
    const sources = [
      [{ config, weights }],
      [{ config: JSON.parse(await config.text()), weights: weights.stream() }],
      [{ config: "/digits/config.json", weights: await weights.arrayBuffer() }],
      [[new File([config], "config.json"), new File([weights], "model.safetensors")]],
      ["owner/model", { fetch: (url, options) => fetch(url.replace("/hub/owner/model/resolve/v1/", "/digits/"), options), host: new URL("/hub", location.href).href, revision: "v1" }],
    ];
    const labels = [];
    for (const [source, options] of sources) {
      const model = await Vitraux.load(source, { device: "cpu", ...options });
      labels.push((await model.classify(await image("/samples/handwritten-3.png")))[0].label);
      model.dispose();
    }
    return labels;
  });
  assert.deepEqual(labels, ["3", "3", "3", "3", "3"]);
});

test("shards are loaded as one", async () => {
  const { classes, sum } = await page.evaluate(async () => {
    const model = await Vitraux.load(new URL("/sharded/", location.href), { device: "cpu" });
    const probabilities = await model.classify(new ImageData(224, 224), { topK: 1000 });
    model.dispose();
    return { classes: model.classes, sum: probabilities.reduce((sum, { score }) => sum + score, 0) };
  });
  assert.equal(classes, 1000);
  assert.ok(Math.abs(sum - 1) < 1e-4);
});

test("shards elsewhere are not asked for", async () => {
  const failed = await page.evaluate(() => failure(Vitraux.load(new URL("/elsewhere/", location.href))));
  assert.ok(failed.kind === "file" && failed.message.includes("../sharded/one.safetensors"), JSON.stringify(failed));
});

test("the server of the page answers whatever it is asked", async () => {
  const ask = (path, headers) => fetch(`${server.url}${path}`, { headers }).then(({ status }) => status);
  for (const path of ["%", "constructor/x", "%00", "dist/../../Cargo.toml", "cases"]) assert.match(String(await ask(path)), /^40[04]$/, path);
  assert.deepEqual(await Promise.all(["bytes=5-2", "bytes=1-2", "bytes=99999999999-"].map((range) => ask("digits/model.safetensors", { range }))), [200, 206, 200]);
});

test("a download is stopped by its signal", async () => {
  const stopped = await page.evaluate(async () => {
    const controller = new AbortController();
    const loading = failure(Vitraux.load({ config: "/digits/config.json", weights: "/endless/model.safetensors" }, { device: "cpu", signal: controller.signal }));
    setTimeout(() => controller.abort(), 300);
    const failed = await loading;
    const early = await failure(Vitraux.load("digits", { signal: AbortSignal.abort() }));
    const cache = await caches.open("vitraux");
    return { failed, early, kept: !!(await cache.match(new URL("/endless/model.safetensors", location.href).href)) };
  });
  assert.deepEqual([stopped.failed.name, stopped.early.name, stopped.kept], ["AbortError", "AbortError", false]);
});
