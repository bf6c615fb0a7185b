// The package's calls, on WebGPU and on the CPU.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { crc32, deflateSync } from "node:zlib";
import { open } from "./setup.mjs";

/** A worker of the page's own. */
const WORKER = `
  import { Vitraux } from "/dist/vitraux.js";
  const model = await Vitraux.load("digits", { device: "cpu" });
  const [best] = await model.classify(await (await fetch("/samples/printed-6.png")).blob());
  postMessage(best.label);
`;

/** Side in pixels of an image in which each pixel has another colour and opacity, 0 among them. */
const SIDE = 32;
const RGBA = Buffer.from(Array.from({ length: SIDE * SIDE }, (_, i) => [(i * 7) % 256, (i * 13) % 256, (i * 29) % 256, (i * 8) % 256]).flat());

/** Returns a PNG of RGBA levels. */
function png(levels, side) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const header = Buffer.from([0, 0, 0, side, 0, 0, 0, side, 8, 6, 0, 0, 0]);
  const rows = Array.from({ length: side }, (_, row) => Buffer.concat([Buffer.from([0]), levels.subarray(4 * side * row, 4 * side * (row + 1))]));
  const parts = [Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", header), chunk("IDAT", deflateSync(Buffer.concat(rows))), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat(parts);
}

const answers = { "/worker.js": ["text/javascript", WORKER], "/opacity.png": ["image/png", png(RGBA, SIDE)] };
const { page, complaints } = await open({
  answer(path, _, response) {
    if (!(path in answers)) return false;
    const [type, body] = answers[path];
    response.writeHead(200, { "content-type": type }).end(body);
    return true;
  },
});

for (const device of ["gpu", "cpu"]) {
  test(`images of all kinds are classified on ${device}`, async () => {
    const samples = readdirSync("examples/digits/samples");
    const { answers, name } = await page.evaluate(
      async (device, samples) => {
        const model = await Vitraux.load("digits", { device });
        const answers = [];
        for (const sample of samples) {
          const blob = await image(`/samples/${sample}`);
          const bitmap = await createImageBitmap(blob);
          const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
          const context = canvas.getContext("2d");
          context.drawImage(bitmap, 0, 0);
          const element = Object.assign(new Image(), { src: `/samples/${sample}` });
          const frame = new VideoFrame(bitmap, { timestamp: 0 });
          const sources = { blob, bitmap, canvas, levels: context.getImageData(0, 0, canvas.width, canvas.height), element, frame };
          for (const [kind, source] of Object.entries(sources)) {
            const [best, ...others] = await model.classify(source, { topK: 3 });
            answers.push({ kind, sample, label: best.label, others: others.length, score: best.score });
          }
          // They are still the page's.
          frame.close();
          bitmap.close();
        }
        const { device: name } = model;
        model.dispose();
        return { answers, name };
      },
      device,
      samples,
    );
    assert.equal(answers.length, 6 * samples.length);
    for (const { kind, sample, label, others, score } of answers) {
      assert.ok(sample.includes(`-${label}`) && others === 2 && score > 0.5, `${kind} of ${sample}: ${label} ${score}`);
      // Whatever it comes in, the image is the same.
      const first = answers.find((answer) => answer.sample === sample);
      assert.ok(Math.abs(score - first.score) < (kind === "frame" ? 0.02 : 1e-4), `${kind} of ${sample}: ${score} is not ${first.score}`);
    }
    assert.equal(name === "cpu", device === "cpu", name);
  });

  test(`vectors, maps and tensors are computed on ${device}`, async () => {
    const found = await page.evaluate(async (device) => {
      const model = await Vitraux.load("digits", { device });
      const two = await image("/samples/printed-2.png");
      const vector = await model.embed(two);
      const norm = Math.hypot(...(await model.embed(two, { normalize: true })));
      const attention = await model.attention(two, { layer: -2, query: 5 });
      const pca = await model.pca(two);
      const both = await model.forward(two, ["logits", "attn.3.0"]);
      const { width, height } = await createImageBitmap(two);
      const painted = async (map, options) => {
        const canvas = new OffscreenCanvas(64, 64);
        const context = canvas.getContext("2d");
        context.fillStyle = "#00f";
        context.fillRect(0, 0, 64, 64);
        await map.paint(canvas, options);
        return [...context.getImageData(0, 0, 64, 64).data];
      };
      const pictures = [await painted(attention), await painted(attention, { head: 1 }), await painted(attention, { opacity: 0.5 }), await painted(pca)];
      const head = attention.data.slice(65, 130);
      const corner = attention.patch(attention.prefix + 63);
      const result = {
        vector: vector.length,
        norm,
        shape: attention.shape,
        grid: attention.grid,
        prefix: attention.prefix,
        sum: attention.data.reduce((a, b) => a + b),
        brightest: head.indexOf(Math.max(...head.slice(1))),
        corner: [corner.left + corner.width - width, corner.top + corner.height - height],
        tokens: [attention.tokenAt(0, 0), attention.tokenAt(width - 1, height - 1), attention.tokenAt(width, 0) ?? null],
        pca: [pca.shape, pca.grid],
        outputs: [both.logits.shape, both["attn.3.0"].shape],
        pictures,
        facts: [model.depth, model.heads, model.classes, model.labels.length, model.outputs.includes("tokens")],
      };
      model.dispose();
      return { ...result, disposed: await failure(model.classify(two)) };
    }, device);
    assert.equal(found.vector, 64);
    assert.ok(Math.abs(found.norm - 1) < 1e-5);
    assert.deepEqual([found.shape, found.grid, found.prefix], [[1, 4, 1, 65], [8, 8], 1]);
    assert.ok(Math.abs(found.sum - 4) < 1e-4);
    assert.deepEqual(found.tokens, [1, 64, null]);
    assert.ok(found.corner.every((distance) => Math.abs(distance) < 1e-3), String(found.corner));
    assert.deepEqual([found.pca, found.outputs], [[[1, 64, 3], [8, 8]], [[1, 10], [1, 4, 1, 65]]]);
    assert.deepEqual(found.facts, [4, 4, 10, 10, true]);
    const [mean, head, half, pca] = found.pictures;
    const at = (picture, x, y) => picture.slice(4 * (64 * y + x), 4 * (64 * y + x) + 3);
    // The patch with the largest weight of head 1 is the brightest.
    const [row, column] = [Math.floor((found.brightest - 1) / 8), (found.brightest - 1) % 8];
    const lights = [...Array(64 * 64).keys()].map((i) => at(head, i % 64, i >> 6).reduce((a, b) => a + b));
    const lightest = lights.indexOf(Math.max(...lights));
    assert.deepEqual([lightest >> 9, (lightest % 64) >> 3], [row, column]);
    assert.notDeepEqual(mean, head);
    // Half of it over blue.
    for (const i of [0, 2]) {
      const blended = (at(mean, 20, 20)[i] + (i === 2 ? 255 : 0)) / 2;
      assert.ok(Math.abs(at(half, 20, 20)[i] - blended) <= 2, `${at(half, 20, 20)} of ${at(mean, 20, 20)}`);
    }
    assert.ok(new Set(pca).size > 50);
    assert.deepEqual([found.disposed.name, found.disposed.kind], ["VitrauxError", "argument"]);
  });
}

test("colours keep all bits behind opacity, in files and in pixels, on both devices", async () => {
  const all = await page.evaluate(
    async (levels, side) => {
      const data = new ImageData(Uint8ClampedArray.from(levels), side, side);
      const all = [];
      for (const device of ["gpu", "cpu"]) {
        const model = await Vitraux.load("digits", { device });
        for (const source of [data, await image("/opacity.png")]) all.push([...(await model.forward(source, ["logits"])).logits.data]);
        model.dispose();
      }
      return all;
    },
    [...RGBA],
    SIDE,
  );
  const largest = Math.max(...all[0].map(Math.abs));
  for (const logits of all) assert.ok(logits.every((value, i) => Math.abs(value - all[0][i]) < 1e-4 * largest), `${logits} is not ${all[0]}`);
});

test("a hundred images at once are all answered, in their turn", async () => {
  const labels = await page.evaluate(async () => {
    const model = await Vitraux.load("digits", { device: "gpu" });
    const samples = await Promise.all(["printed-2.png", "printed-6.png"].map((name) => image(`/samples/${name}`)));
    const answers = await Promise.all([...Array(100).keys()].map((i) => model.classify(samples[i % 2])));
    model.dispose();
    return answers.map(([best]) => best.label);
  });
  assert.deepEqual(labels, [...Array(100).keys()].map((i) => ["2", "6"][i % 2]));
});

test("frames of a video are classified where they are", async () => {
  const answers = await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 256 });
    const context = canvas.getContext("2d");
    const digit = await createImageBitmap(await image("/samples/handwritten-3.png"));
    const draw = () => context.drawImage(digit, 0, 0, 256, 256);
    draw();
    const video = Object.assign(document.createElement("video"), { muted: true });
    const model = await Vitraux.load("digits", { device: "gpu" });
    const early = await failure(model.classify(video));
    video.srcObject = canvas.captureStream(30);
    const drawing = setInterval(draw, 20);
    await video.play();
    await new Promise((shown) => video.requestVideoFrameCallback(shown));
    const [best] = await model.classify(video);
    clearInterval(drawing);
    model.dispose();
    return { best, early };
  });
  assert.equal(answers.best.label, "3");
  assert.equal(answers.early.kind, "argument");
});

test("the package works in a worker", async () => {
  const label = await page.evaluate(() => new Promise((answered, failed) => {
    const worker = new Worker("/worker.js", { type: "module" });
    worker.addEventListener("message", ({ data }) => answered(data));
    worker.addEventListener("error", ({ message }) => failed(new Error(message)));
  }));
  assert.equal(label, "6");
});

test("calls overlap, also of two models", async () => {
  const labels = await page.evaluate(async () => {
    const models = await Promise.all(["gpu", "cpu"].map((device) => Vitraux.load("digits", { device })));
    const samples = await Promise.all(["printed-2.png", "printed-6.png", "printed-9.png"].map((name) => image(`/samples/${name}`)));
    const answers = await Promise.all(models.flatMap((model) => samples.map((sample) => model.classify(sample))));
    models.forEach((model) => model.dispose());
    return answers.map(([best]) => best.label);
  });
  assert.deepEqual(labels, ["2", "6", "9", "2", "6", "9"]);
});

test("calls are cancelled, and models disposed of, while they run", async () => {
  const found = await page.evaluate(async () => {
    const rejections = [];
    addEventListener("unhandledrejection", ({ reason }) => rejections.push(String(reason)));
    const model = await Vitraux.load("digits", { device: "gpu" });
    const two = await image("/samples/printed-2.png");
    const controller = new AbortController();
    const calls = [model.classify(two), model.classify(two, { signal: controller.signal }), model.pca(two, { signal: controller.signal }), model.classify(two)];
    setTimeout(() => controller.abort(), 0);
    const settled = await Promise.allSettled(calls);
    const early = await failure(model.embed(two, { signal: AbortSignal.abort() }));
    const running = model.classify(two);
    await new Promise((later) => setTimeout(later, 1));
    model.dispose();
    model.dispose();
    const [last] = await running;
    const next = await Vitraux.load("digits", { device: "gpu" });
    const [again] = await next.classify(two);
    next.dispose();
    const names = settled.map(({ status, reason, value }) => (status === "rejected" ? reason.name : value[0].label));
    return { names, early: early.name, last: last.label, again: again.label, rejections };
  });
  assert.deepEqual(found, { names: ["2", "AbortError", "AbortError", "2"], early: "AbortError", last: "2", again: "2", rejections: [] });
});

for (const device of ["gpu", "cpu"]) {
  test(`digits are read in every precision on ${device}`, async () => {
    const found = await page.evaluate(async (device) => {
      const found = [];
      for (const precision of ["f16", "bf16", "int8", "auto"]) {
        const model = await Vitraux.load("digits", { device, precision });
        const [best] = await model.classify(await image("/samples/handwritten-3.png"));
        found.push([model.precision, best.label, best.score]);
        model.dispose();
      }
      return found;
    }, device);
    assert.deepEqual(found.slice(0, 3).map(([precision]) => precision), ["f16", "bf16", "int8"]);
    // In f32 it is 0.967.
    assert.ok(found.every(([, label, score]) => label === "3" && Math.abs(score - 0.967) < 0.02), JSON.stringify(found));
  });
}

test("the page stays responsive while the CPU computes", async () => {
  const { longest, count } = await page.evaluate(async () => {
    const model = await Vitraux.load("digits", { device: "cpu" });
    const data = new Float32Array(64 * 32 * 32).fill(0.5);
    let [longest, last, isDone] = [0, performance.now(), false];
    const beat = () => {
      const now = performance.now();
      [longest, last] = [Math.max(longest, now - last), now];
      if (!isDone) setTimeout(beat, 0);
    };
    beat();
    let count = 0;
    for (const end = performance.now() + 1500; performance.now() < end; count++) await model.forward({ shape: [64, 1, 32, 32], data }, ["logits"]);
    isDone = true;
    model.dispose();
    return { longest, count };
  });
  // A batch of 64 takes longer than that.
  assert.ok(longest < 100 && count > 0, `${longest} ms, ${count} batches`);
});

test("failures have kinds", async () => {
  const failures = await page.evaluate(async () => {
    const config = await (await image("/digits/config.json")).text();
    const weights = () => new Blob(["no weights"]);
    const broken = Object.assign(new Image(), { src: URL.createObjectURL(new Blob(["no image"])) });
    return [
      await failure(Vitraux.load(new URL("/nowhere/", location.href))),
      await failure(Vitraux.load("http://127.0.0.1:59999/model/")),
      await failure(Vitraux.load(3)),
      await failure(Vitraux.load([new File(["{}"], "config.json")])),
      await failure(Vitraux.load({ config: JSON.parse(config), weights: weights() })),
      await failure(Vitraux.load({ config: { architecture: "resnet50" }, weights: weights() })),
      await failure(Vitraux.load("digits", { device: "cpu", precision: "f8" })),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.forward({ shape: [1, 3, 4, 4], data: new Float32Array(48) }, ["logits"]))),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.forward(new ImageData(8, 8), ["nothing"]))),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.classify(new Blob(["no image"])))),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.classify(broken))),
      await failure(Vitraux.load("digits", { device: "cpu" }).then((model) => model.classify("photo.jpg"))),
    ];
  });
  const kinds = ["file", "network", "argument", "file", "file", "unsupported", "argument", "argument", "argument", "image", "image", "argument"];
  assert.deepEqual(failures.map((failure) => failure?.kind), kinds, JSON.stringify(failures));
  assert.ok(failures.every(({ name, message }) => name === "VitrauxError" && message.length > 20));
});

test("arguments that mean nothing are refused", async () => {
  const failures = await page.evaluate(async () => {
    const model = await Vitraux.load("digits", { device: "cpu" });
    const pixels = new ImageData(8, 8);
    const data = new Float32Array(32 * 32);
    const transferred = (owner) => structuredClone(owner.data, { transfer: [owner.data.buffer] }) && owner;
    const calls = {
      ...Object.fromEntries([-1, 1.5, NaN, "2", null].map((topK) => [`topK ${topK}`, () => model.classify(pixels, { topK })])),
      ...Object.fromEntries([[-1], [1.5], [2 ** 32 + 1], ["1"], 1].map((shape) => [`shape ${shape}`, () => model.forward({ shape, data }, ["logits"])])),
      "no data": () => model.forward({ shape: [1, 1, 32, 32] }, ["logits"]),
      "no input": () => model.forward(null, ["logits"]),
      "no outputs": () => model.forward(pixels),
      "no array of outputs": () => model.forward(pixels, "logits"),
      "transferred pixels": () => model.classify(transferred(new ImageData(8, 8))),
      "a transferred map": async () => transferred(await model.attention(pixels)).paint(new OffscreenCanvas(8, 8)),
      "a function as device": () => Vitraux.load("digits", { device: () => "cpu" }),
    };
    const failures = [];
    for (const [name, call] of Object.entries(calls)) failures.push({ call: name, ...(await failure(call())) });
    model.dispose();
    return failures;
  });
  for (const { call, ...failed } of failures) {
    assert.ok(failed.name === "VitrauxError" && failed.kind === "argument" && failed.message.length > 20, `${call}: ${JSON.stringify(failed)}`);
  }
});

test("images of other origins are refused with what they need", async () => {
  const found = await page.evaluate(async () => {
    const model = await Vitraux.load("digits", { device: "cpu" });
    const foreign = Object.assign(new Image(), { src: new URL("/samples/handwritten-3.png", location.href.replace("127.0.0.1", "localhost")).href });
    await foreign.decode();
    const canvas = new OffscreenCanvas(8, 8);
    canvas.getContext("2d").drawImage(foreign, 0, 0);
    const failures = [await failure(model.classify(foreign)), await failure(model.classify(canvas))];
    const answers = await model.classify(new ImageData(8, 8));
    model.dispose();
    return { failures, answers: answers.length };
  });
  for (const failed of found.failures) assert.ok(failed?.kind === "image" && failed.message.includes("crossorigin"), JSON.stringify(failed));
  assert.ok(found.answers > 0);
});

test("calls that the browser cannot copy are answered, and those around them", async () => {
  const { before, lost, after } = await page.evaluate(async () => {
    const { runner } = await import("/dist/runner.js");
    const model = await Vitraux.load("digits", { device: "cpu" });
    const transferred = new ImageData(8, 8);
    structuredClone(transferred.data, { transfer: [transferred.data.buffer] });
    const classified = async () => (await model.classify(new ImageData(8, 8))).length;
    const calls = [classified(), failure(runner().call("image", { id: 0, image: transferred, outputs: [] })), classified()];
    const [before, lost, after] = await Promise.all(calls);
    model.dispose();
    return { before, lost, after };
  });
  assert.deepEqual([before > 0, lost?.kind, after > 0], [true, "argument", true], JSON.stringify(lost));
});

test("pixels of 16 bits are as those of 8 bits", async () => {
  const [eight, sixteen] = await page.evaluate(async () => {
    const model = await Vitraux.load("digits", { device: "cpu" });
    const images = [new ImageData(16, 16), new ImageData(16, 16, { pixelFormat: "rgba-float16" })];
    const levels = Array.from({ length: 4 * 16 * 16 }, (_, i) => (i % 4 === 3 ? 255 : (i * 7 + 100) % 256));
    images[0].data.set(levels);
    images[1].data.set(levels.map((level) => level / 255));
    const results = [];
    for (const source of images) results.push([...(await model.forward(source, ["logits"])).logits.data]);
    model.dispose();
    return results;
  });
  const largest = Math.max(...eight.map(Math.abs));
  assert.ok(eight.every((value, i) => Math.abs(value - sixteen[i]) < 1e-4 * largest), `${sixteen} is not ${eight}`);
});

test("the page's policy was kept", () => {
  assert.deepEqual(complaints, []);
});
