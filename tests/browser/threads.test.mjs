// The CPU in a page that is isolated from other origins, where workers share memory.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { ISOLATION } from "../../bindings/web/server.mjs";
import { open } from "./setup.mjs";

const isBuilt = existsSync("bindings/web/dist/threads");
if (!isBuilt) assert.ok(!process.env.VITRAUX_REQUIRE_BROWSER, "nightly Rust builds the package with threads");

test("work is shared by threads in isolated pages only", { skip: !isBuilt && "SKIPPED: threads, because nightly Rust cannot be had here", timeout: 120_000 }, async () => {
  const run = async (headers) => {
    const { page, requests, complaints } = await open({ headers });
    const found = await page.evaluate(async () => {
      const model = await Vitraux.load("digits", { device: "cpu" });
      const data = Float32Array.from({ length: 32 * 32 * 32 }, (_, i) => ((i % 251) - 125) / 125);
      const { logits } = await model.forward({ shape: [32, 1, 32, 32], data }, ["logits"]);
      const [best] = await model.classify(await image("/samples/handwritten-3.png"));
      model.dispose();
      return { isIsolated: crossOriginIsolated, logits: [...logits.data], best: best.label };
    });
    return { ...found, usesThreads: requests.has("/dist/threads/vitraux_web_bg.wasm"), complaints };
  };
  const [shared, alone] = [await run(ISOLATION), await run({})];
  for (const found of [shared, alone]) {
    assert.deepEqual([found.usesThreads, found.best, found.complaints], [found.isIsolated, "3", []]);
  }
  assert.ok(shared.isIsolated && !alone.isIsolated);
  // Tasks add up the same numbers in the same order, however many threads there are.
  assert.deepEqual(shared.logits, alone.logits);
});
