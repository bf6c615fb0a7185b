// A browser without WebGPU.

import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "./setup.mjs";

test("without WebGPU, the GPU is missed and the CPU is used", { timeout: 60_000 }, async () => {
  const { page } = await open({ args: [] });
  const found = await page.evaluate(async () => {
    const missed = await failure(Vitraux.load("digits", { device: "gpu" }));
    const model = await Vitraux.load("digits");
    const [best] = await model.classify(await image("/samples/handwritten-3.png"));
    return { adapter: !!(await navigator.gpu?.requestAdapter()), missed, device: model.device, best: best.label };
  });
  assert.deepEqual([found.adapter, found.missed?.kind, found.device, found.best], [false, "no_device", "cpu", "3"], JSON.stringify(found));
});
