// Drives the npm package in Chromium.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { serve } from "./server.mjs";

const puppeteer = createRequire(`${process.cwd()}/target/tools/`)("puppeteer-core").default;
const CASES = "tests/fixtures/cases";
/** Bound of attention probabilities, as in tests/golden.rs. */
const ATTENTION_TOLERANCE = Number(readFileSync("tests/golden.rs", "utf8").match(/const ATTENTION_TOLERANCE: f64 = ([\d.e-]+);/)[1]);

const server = await serve({ dist: "bindings/web/dist", cases: CASES, samples: "examples/digits/samples", digits: "examples/digits" });
const browser = await puppeteer.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
});
const page = await browser.newPage();
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
await page.goto(server.url);
await page.addScriptTag({ url: `${server.url}dist/vitraux.js`, type: "module" });
await page.evaluate(async () => {
  globalThis.Vitraux = (await import("/dist/vitraux.js")).Vitraux;
  globalThis.image = async (url) => (await fetch(url)).blob();
  globalThis.failure = (promise) => promise.then(() => undefined, ({ name, kind, message }) => ({ name, kind, message }));
});

for (const device of ["gpu", "cpu"]) {
  test(`digits are read on ${device}`, async () => {
    const samples = readdirSync("examples/digits/samples");
    const answers = await page.evaluate(
      async (device, samples) => {
        const model = await Vitraux.load("digits", { device });
        const answers = [];
        for (const sample of samples) {
          const blob = await image(`/samples/${sample}`);
          const bitmap = await createImageBitmap(blob);
          const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
          canvas.getContext("2d").drawImage(bitmap, 0, 0);
          const frame = new VideoFrame(bitmap, { timestamp: 0 });
          for (const source of [blob, bitmap, canvas, frame]) {
            const [best, ...others] = await model.classify(source, { topK: 3 });
            answers.push([sample, best.label, others.length, best.score]);
          }
          frame.close();
        }
        const two = await image("/samples/printed-2.png");
        const { length } = await model.embed(two);
        const norm = Math.hypot(...(await model.embed(two, { normalize: true })));
        const { shape, data } = await model.attention(two);
        const sum = data.reduce((a, b) => a + b);
        const { device: name, classes } = model;
        model.dispose();
        const disposed = await failure(model.classify(new ImageData(1, 1)));
        return { answers, length, norm, shape, sum, name, classes, disposed };
      },
      device,
      samples,
    );
    assert.equal(answers.answers.length, 4 * samples.length);
    for (const [sample, label, others, score] of answers.answers) {
      assert.ok(sample.includes(`-${label}`) && others === 2 && score > 0.5, `${sample}: ${label} ${score}`);
    }
    assert.equal(answers.length, 64);
    assert.ok(Math.abs(answers.norm - 1) < 1e-5);
    assert.deepEqual(answers.shape, [1, 4, 1, 65]);
    assert.ok(Math.abs(answers.sum - 4) < 1e-4);
    assert.equal(answers.classes, 10);
    assert.equal(answers.name === "cpu", device === "cpu", answers.name);
    assert.deepEqual([answers.disposed.name, answers.disposed.kind], ["VitrauxError", "argument"]);
  });

  test(`golden cases match their references on ${device}`, { timeout: 600_000 }, async () => {
    const folders = readdirSync(CASES).filter((name) => existsSync(`${CASES}/${name}/config.json`) && existsSync(`${CASES}/${name}/case.json`));
    let compared = 0;
    for (const name of folders) {
      const description = JSON.parse(readFileSync(`${CASES}/${name}/case.json`));
      if (!existsSync(`${CASES}/${name}/model.safetensors`) && !existsSync(`${CASES}/${name}/model.safetensors.index.json`)) continue;
      for (const run of description.runs ?? [description]) {
        if (!run.shapes || "key_padding_mask" in run.shapes) continue;
        const differences = await page.evaluate(compare, `/cases/${name}/`, run, device);
        for (const [output, difference, largest] of differences) {
          const bound = run.atol_f32?.[output] ?? ATTENTION_TOLERANCE;
          assert.ok(difference <= bound, `${name}, ${run.name}, ${output}: off by ${difference} of ${largest}, ${bound} allowed`);
          compared += 1;
        }
      }
    }
    console.log(`${compared} outputs of ${folders.length} checkpoints on ${device}`);
    assert.ok(compared > 300, `${compared} outputs`);
  });
}

/** Returns the largest difference of each output of a run from the reference's. Runs in the page. */
async function compare(folder, run, device) {
  const bytes = await (await fetch(`${folder}${run.expected}`)).arrayBuffer();
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
  const read = (name) => {
    const { shape, data_offsets, dtype } = header[name];
    if (dtype !== "F32") throw new Error(`${name} is ${dtype}`);
    return { shape, data: new Float32Array(bytes.slice(8 + length + data_offsets[0], 8 + length + data_offsets[1])) };
  };
  const model = await Vitraux.load(new URL(folder, location.href), { device });
  try {
    const outputs = model.outputs.filter((name) => name in run.shapes);
    const got = await model.forward(read("input" in run.shapes ? "input" : "pixel_values"), outputs);
    return outputs.map((name) => {
      const want = read(name);
      if (String(got[name].shape) !== String(want.shape)) throw new Error(`${folder} ${name}: ${got[name].shape} is not ${want.shape}`);
      const difference = want.data.reduce((most, value, i) => Math.max(most, Math.abs(value - got[name].data[i])), 0);
      return [name, difference, want.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)];
    });
  } finally {
    model.dispose();
  }
}

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
  const count = () => server.requests.get("/digits/model.safetensors") ?? 0;
  const { progress } = await load(false);
  assert.equal(count(), 1);
  const last = progress.filter(({ file }) => file === "model.safetensors").at(-1);
  assert.ok(last.loaded === last.total && last.total > 100_000, JSON.stringify(last));
  const { kept } = await load(true);
  assert.ok(count() === 2 && kept === 2, `${count()} requests, ${kept} files kept`);
});

test("checkpoints are opened from blobs and streams", async () => {
  const labels = await page.evaluate(async () => {
    const [config, weights] = await Promise.all(["config.json", "model.safetensors"].map((file) => image(`/digits/${file}`)));
    const labels = [];
    for (const source of [{ config, weights }, { config: JSON.parse(await config.text()), weights: weights.stream() }, { config: "/digits/config.json", weights: await weights.arrayBuffer() }]) {
      const model = await Vitraux.load(source, { device: "cpu" });
      labels.push((await model.classify(await image("/samples/handwritten-3.png")))[0].label);
      model.dispose();
    }
    return labels;
  });
  assert.deepEqual(labels, ["3", "3", "3"]);
});

test("a download is stopped by its signal", async () => {
  const stopped = await page.evaluate(async () => {
    const controller = new AbortController();
    const loading = failure(Vitraux.load({ config: "/digits/config.json", weights: "/endless/model.safetensors" }, { device: "cpu", signal: controller.signal }));
    setTimeout(() => controller.abort(), 300);
    const failed = await loading;
    const cache = await caches.open("vitraux");
    return { failed, kept: !!(await cache.match(new URL("/endless/model.safetensors", location.href).href)) };
  });
  assert.deepEqual([stopped.failed.name, stopped.kept], ["AbortError", false]);
});

test("failures have kinds", async () => {
  const failures = await page.evaluate(async () => {
    const config = await (await image("/digits/config.json")).text();
    const weights = () => new Blob(["no weights"]);
    return [
      await failure(Vitraux.load(new URL("/nowhere/", location.href))),
      await failure(Vitraux.load("http://127.0.0.1:59999/model/")),
      await failure(Vitraux.load(3)),
      await failure(Vitraux.load({ config: JSON.parse(config), weights: weights() })),
      await failure(Vitraux.load({ config: { architecture: "resnet50" }, weights: weights() })),
      await failure(Vitraux.load("digits", { device: "cpu", precision: "f8" })),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.forward({ shape: [1, 3, 4, 4], data: new Float32Array(48) }, ["logits"]))),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.classify(new Blob(["no image"])))),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.classify("photo.jpg"))),
    ];
  });
  assert.deepEqual(failures.map((failure) => failure?.kind), ["file", "network", "argument", "file", "unsupported", "argument", "argument", "image", "argument"], JSON.stringify(failures));
  assert.ok(failures.every(({ name, message }) => name === "VitrauxError" && message.length > 20));
});

test("the page's policy was kept", () => {
  // Files that are not there, above, are errors of the console too.
  const others = complaints.filter((text) => !text.startsWith("Failed to load resource"));
  assert.deepEqual(others, []);
});

test.after(async () => {
  await browser.close();
  server.close();
});
