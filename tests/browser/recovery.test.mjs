// What a page survives: memory that runs out, a lost device, and models that come and go.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ISOLATION } from "../../bindings/web/server.mjs";
import { children, read, resident } from "./processes.mjs";
import { checkpoint, header } from "./random.mjs";
import { open } from "./setup.mjs";

const base = header("vit_base_patch16_224");
const tiny = checkpoint("vit_tiny_patch16_224");
const answers = { "/tiny/config.json": Buffer.from(JSON.stringify(tiny.config)), "/tiny/model.safetensors": tiny.weights, "/base/header": base.header };

function answer(path, _, response) {
  if (!(path in answers)) return false;
  response.writeHead(200, { "content-length": answers[path].length }).end(answers[path]);
  return true;
}

/** Returns the files of a model of more than WebAssembly's 4 GiB in two shards, of which the browser keeps one MiB. Runs in the page. */
function oversized() {
  const [width, depth, mlp] = [2048, 40, 8192];
  const zeros = new Blob([new Uint8Array(1 << 20)]);
  const shard = (blocks) => {
    const entries = {};
    let offset = 0;
    const add = (name, ...shape) => {
      const end = offset + 4 * shape.reduce((a, b) => a * b, 1);
      entries[name] = { dtype: "F32", shape, data_offsets: [offset, end] };
      offset = end;
    };
    for (const i of blocks) {
      const linears = [["self_attn.out_proj.", width, width], ["linear1.", mlp, width], ["linear2.", width, mlp], ["self_attn.in_proj_", 3 * width, width]];
      for (const [part, out, input] of linears) {
        add(`layers.${i}.${part}weight`, out, input);
        add(`layers.${i}.${part}bias`, out);
      }
      for (const part of ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]) add(`layers.${i}.${part}`, width);
    }
    const text = new TextEncoder().encode(JSON.stringify(entries));
    const whole = Math.floor(offset / zeros.size);
    const blob = new Blob([new BigUint64Array([BigInt(text.length)]), text, ...Array(whole).fill(zeros), zeros.slice(0, offset - whole * zeros.size)]);
    return { names: Object.keys(entries), blob };
  };
  const numbers = [...Array(depth).keys()];
  const shards = [shard(numbers.slice(0, depth / 2)), shard(numbers.slice(depth / 2))];
  const weight_map = Object.fromEntries(shards.flatMap(({ names }, i) => names.map((name) => [name, `${i}.safetensors`])));
  const config = { model_type: "torch_transformer_encoder", d_model: width, num_layers: depth, nhead: 16, dim_feedforward: mlp, max_len: 64 };
  const json = (value, name) => new File([JSON.stringify(value)], name);
  const files = [json(config, "config.json"), json({ weight_map }, "model.safetensors.index.json"), ...shards.map(({ blob }, i) => new File([blob], `${i}.safetensors`))];
  return { files, config, shards };
}

const { browser, page } = await open({ answer });
const digit = () =>
  page.evaluate(async () => {
    const model = await Vitraux.load("digits", { device: "gpu" });
    const [best] = await model.classify(await image("/samples/handwritten-3.png"));
    model.dispose();
    return best.label;
  });

for (const device of ["gpu", "cpu"]) {
  test(`ten models that are disposed of leave no memory behind on ${device}`, { timeout: 240_000 }, async () => {
    const used = [];
    for (let i = 0; i < 10; i++) {
      await page.evaluate(async (device) => {
        const model = await Vitraux.load(new URL("/tiny/", location.href), { device });
        await model.classify(new ImageData(224, 224));
        model.dispose();
      }, device);
      used.push(Math.round(resident(browser.process().pid)));
    }
    console.log(`MiB after each of ten models on ${device}: ${used.join(", ")}`);
    // Seven more models of 22 MiB would take 154.
    const middle = (values) => values.sort((a, b) => a - b)[1];
    const growth = middle(used.slice(7)) - middle(used.slice(0, 3));
    assert.ok(growth < 44, used.join(", "));
  });
}

test("weights are never in memory as a whole, but where they are computed with", { timeout: 120_000 }, async () => {
  let peak = 0;
  const before = resident(browser.process().pid);
  const watch = setInterval(() => (peak = Math.max(peak, resident(browser.process().pid))), 50);
  const bytes = await page.evaluate(async () => {
    // 330 MiB of zeros, of which the browser keeps one MiB.
    const start = await image("/base/header");
    const zeros = new Blob([new Uint8Array(1 << 20)]);
    const { data_offsets } = Object.values(JSON.parse((await start.text()).slice(8))).at(-1);
    const whole = Math.floor(data_offsets[1] / zeros.size);
    const weights = new Blob([start, ...Array(whole).fill(zeros), zeros.slice(0, data_offsets[1] - whole * zeros.size)]);
    const model = await Vitraux.load({ config: { architecture: "vit_base_patch16_224", num_classes: 1000 }, weights }, { device: "gpu" });
    model.dispose();
    return weights.size;
  });
  clearInterval(watch);
  const growth = peak - before;
  console.log(`${Math.round(growth)} MiB more while ${bytes >> 20} MiB of weights were loaded`);
  // The adapter is software: its memory is the machine's.
  assert.ok(bytes > 340e6 && growth < (1.5 * bytes) / 2 ** 20, `${growth} MiB`);
});

for (const headers of [{}, ISOLATION]) {
  const where = "cross-origin-opener-policy" in headers ? "with threads" : "without threads";
  test(`memory that runs out ${where} is reported, and the next model loads`, { timeout: 240_000 }, async () => {
    const { page } = await open({ headers });
    await page.evaluate(`globalThis.oversized = ${oversized}`);
    const found = await page.evaluate(async () => {
      const { files, config, shards } = oversized();
      const whole = await failure(Vitraux.load({ config, weights: new Blob(shards.map(({ blob }) => blob)) }, { device: "cpu" }));
      const digits = await Vitraux.load("digits", { device: "cpu" });
      const failed = await failure(Vitraux.load(files, { device: "cpu" }));
      // It was in the same worker.
      const other = await failure(digits.classify(new ImageData(8, 8)));
      const next = await Vitraux.load("digits", { device: "cpu" });
      const [best] = await next.classify(await image("/samples/handwritten-3.png"));
      return { failed, whole, other, size: files.reduce((sum, { size }) => sum + size, 0), best: best.label };
    });
    assert.ok(found.size > 2 ** 32, String(found.size));
    assert.deepEqual([found.failed.kind, found.other.kind, found.best], ["out_of_memory", "out_of_memory", "3"], JSON.stringify(found));
    assert.ok(found.whole.kind === "file" && found.whole.message.includes("shards"), JSON.stringify(found));
  });
}

test("a lost device is reported, and the next model gets a new one", { timeout: 120_000 }, async () => {
  await page.evaluate(async () => {
    globalThis.model = await Vitraux.load("digits", { device: "gpu" });
  });
  const [gpu] = children(browser.process().pid).filter((pid) => read(pid, "cmdline").includes("--type=gpu-process"));
  process.kill(gpu, "SIGKILL");
  const failed = await page.evaluate(async () => {
    for (let i = 0; i < 50; i++) {
      const failed = await failure(globalThis.model.classify(await image("/samples/handwritten-3.png")));
      if (failed) return failed;
      await new Promise((later) => setTimeout(later, 100));
    }
  });
  assert.equal(failed?.kind, "device_lost", JSON.stringify(failed));
  assert.equal(await digit(), "3");
});
