// The golden cases and the digits' test set, on WebGPU and on the CPU, within the bounds of the native tests.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { CASES, open } from "./setup.mjs";

/** Bound of attention probabilities, as in tests/golden.rs. */
const ATTENTION_TOLERANCE = Number(readFileSync("tests/golden.rs", "utf8").match(/const ATTENTION_TOLERANCE: f64 = ([\d.e-]+);/)[1]);

const { page } = await open();
await page.evaluate(() => {
  /** Returns the arrays of a safetensors file. */
  globalThis.tensors = async (url) => {
    const bytes = await (await fetch(url)).arrayBuffer();
    const length = Number(new DataView(bytes).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
    const types = { F32: Float32Array, F64: Float64Array, I64: BigInt64Array, U8: Uint8Array };
    return (name) => {
      const { shape, data_offsets, dtype } = header[name];
      return { shape, data: new types[dtype](bytes.slice(8 + length + data_offsets[0], 8 + length + data_offsets[1])) };
    };
  };
});

for (const device of ["gpu", "cpu"]) {
  test(`golden cases match their references on ${device}`, { timeout: 600_000 }, async () => {
    const folders = readdirSync(CASES).filter((name) => existsSync(`${CASES}/${name}/config.json`) && existsSync(`${CASES}/${name}/case.json`));
    let compared = 0;
    for (const name of folders) {
      const description = JSON.parse(readFileSync(`${CASES}/${name}/case.json`));
      const weights = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"];
      if (!weights.some((file) => existsSync(`${CASES}/${name}/${file}`))) continue;
      for (const run of description.runs ?? [description]) {
        const isOfImages = run.shapes && ("pixel_values" in run.shapes || "input" in run.shapes);
        if (!isOfImages || "key_padding_mask" in run.shapes || "spatial_shapes" in run.shapes) continue;
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

  test(`the digits' test set is read on ${device} as by PyTorch`, { timeout: 300_000 }, async () => {
    const found = await page.evaluate(async (device) => {
      const [images, labels] = ((read) => [read("images"), read("labels")])(await tensors("/digits/test.safetensors"));
      const expected = (await tensors("/digits/expected.safetensors"))("logits");
      const model = await Vitraux.load("digits", { device });
      const [count, height, width] = images.shape;
      const logits = [];
      for (let i = 0; i < count; i++) {
        const levels = images.data.subarray(i * height * width, (i + 1) * height * width);
        const image = new ImageData(Uint8ClampedArray.from([...levels].flatMap((level) => [level, level, level, 255])), width, height);
        logits.push(...(await model.forward(image, ["logits"])).logits.data);
      }
      model.dispose();
      const best = (values) => values.indexOf(Math.max(...values));
      const rows = [...Array(count).keys()].map((i) => logits.slice(10 * i, 10 * i + 10));
      return {
        count,
        right: rows.filter((row, i) => best(row) === Number(labels.data[i])).length,
        difference: logits.reduce((most, value, i) => Math.max(most, Math.abs(value - expected.data[i])), 0),
        largest: expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
      };
    }, device);
    console.log(`${found.right} of ${found.count} digits on ${device}, logits off by ${found.difference} of ${found.largest}`);
    assert.equal(found.count, 360);
    // The bound of tests/digits.rs. PyTorch reads 356 of them.
    assert.equal(found.right, 356);
    assert.ok(found.difference <= 1e-5 * Math.min(8, found.largest));
  });
}

/** Returns the largest difference of each output of a run from the reference's. Runs in the page. */
async function compare(folder, run, device) {
  const read = await tensors(`${folder}${run.expected}`);
  const model = await Vitraux.load(new URL(folder, location.href), { device });
  try {
    const outputs = model.outputs.filter((name) => name in run.shapes);
    // Runs of other texts with the same images.
    if (outputs.length === 0) return [];
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
