// vitraux's npm package beside transformers.js (ONNX Runtime Web), in the same Chromium, on the models that models.py writes:
//
//     bindings/web/build && npm install --prefix target/tools --ignore-scripts puppeteer-core @huggingface/transformers
//     node benches/peers/browser.mjs FOLDER [--models NAMES] [--engines vitraux,transformers.js] [--devices gpu,cpu] [--batches 1,8] [--runs 5] [--adapter swiftshader]
//
// For each a fresh browser; pages are isolated, so that ONNX Runtime may use threads. Prints a table: the time to load from a warm server, the median
// latency, the largest difference from PyTorch's logits, and the peak memory of all the browser's processes.

import { createReadStream, readFileSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ISOLATION, serve } from "../../bindings/web/server.mjs";
import { resident } from "../../tests/browser/processes.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    engines: { type: "string", default: "vitraux,transformers.js" },
    devices: { type: "string", default: "gpu,cpu" },
    batches: { type: "string", default: "1" },
    models: { type: "string" },
    runs: { type: "string", default: "5" },
    adapter: { type: "string", default: "swiftshader" },
  },
});
const [folder] = positionals;
const tools = `${process.cwd()}/target/tools/node_modules`;
const puppeteer = createRequire(`${tools}/`)("puppeteer-core").default;
const models = values.models?.split(",") ?? readdirSync(folder).filter((name) => statSync(join(folder, name)).isDirectory()).reverse();

/** What transformers.js asks for, beside what the folders hold. */
function answer(path, request, response) {
  if (path === "/") return !!response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>benchmark</title>");
  const [, first, name, ...rest] = path.split("/");
  if (first !== "onnx") return false;
  if (rest.join("/") === "config.json") return !!response.end(JSON.stringify({ model_type: "vit", architectures: ["ViTForImageClassification"] }));
  if (rest.join("/") !== "onnx/model.onnx") return !!response.writeHead(404).end();
  const file = join(folder, name, "model.onnx");
  response.setHeader("content-length", statSync(file).size);
  createReadStream(file).pipe(response);
  return true;
}

const folders = { dist: "bindings/web/dist", models: folder, transformers: `${tools}/@huggingface/transformers/dist`, ort: `${tools}/onnxruntime-web/dist` };
folders["onnxruntime-common"] = `${tools}/onnxruntime-common/dist/esm`;
const server = await serve(folders, { headers: ISOLATION, answer });

/** Each runs in the page, and returns a function that returns the logits of a batch. */
const engines = {
  vitraux: async (name, device) => {
    const { Vitraux } = await import("/dist/vitraux.js");
    const model = await Vitraux.load(new URL(`/models/${name}/`, location.href), { device });
    return async (shape, data) => (await model.forward({ shape, data }, ["logits"])).logits.data;
  },
  "transformers.js": async (name, device) => {
    const { AutoModelForImageClassification, Tensor, env } = await import("/transformers/transformers.min.js");
    Object.assign(env, { localModelPath: "/onnx/", allowRemoteModels: false, allowLocalModels: true });
    env.backends.onnx.wasm.wasmPaths = new URL("/ort/", location.href).href;
    const model = await AutoModelForImageClassification.from_pretrained(name, { device: device === "gpu" ? "webgpu" : "wasm", dtype: "fp32" });
    return async (shape, data) => (await model({ pixel_values: new Tensor("float32", data, shape) })).logits.data;
  },
};

async function measure(engine, device, name, batch) {
  const adapter = values.adapter === "swiftshader" ? ["--use-webgpu-adapter=swiftshader"] : [];
  const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", protocolTimeout: 900_000, args: ["--no-sandbox", "--enable-unsafe-webgpu", ...adapter] });
  let peak = 0;
  const watch = setInterval(() => (peak = Math.max(peak, resident(browser.process().pid))), 500);
  try {
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(String(error)));
    await page.goto(server.url);
    const measured = await page.evaluate(
      async (make, name, device, batch, runs) => {
        const input = new Float32Array(await (await fetch(`/models/${name}/input.bin`)).arrayBuffer()).slice(0, batch * 3 * 224 * 224);
        const began = performance.now();
        const run = await eval(make)(name, device);
        const loaded = performance.now() - began;
        const first = performance.now();
        let logits = await run([batch, 3, 224, 224], input);
        const compiled = performance.now() - first;
        const times = [];
        for (let i = 0; i < runs; i++) {
          const start = performance.now();
          logits = await run([batch, 3, 224, 224], input);
          times.push(performance.now() - start);
        }
        return { loaded, compiled, times, logits: Array.from(logits) };
      },
      `(${engines[engine]})`,
      name,
      device,
      batch,
      Number(values.runs),
    );
    const bytes = readFileSync(join(folder, name, "logits.bin"));
    const expected = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const difference = measured.logits.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
    const median = measured.times.sort((a, b) => a - b)[measured.times.length >> 1];
    return { ...measured, median, difference, peak };
  } finally {
    clearInterval(watch);
    await browser.close();
  }
}

console.log(`${cpus()[0].model}, ${cpus().length} cores, adapter ${values.adapter}, ${new Date().toISOString().slice(0, 10)}\n`);
console.log("| model | batch | device | engine | load (s) | first pass (s) | median (ms) | off by | peak memory (MiB) |");
console.log("|---|---:|---|---|---:|---:|---:|---:|---:|");
for (const name of models) {
  for (const batch of values.batches.split(",").map(Number)) {
    for (const device of values.devices.split(",")) {
      for (const engine of values.engines.split(",")) {
        const row = await measure(engine, device, name, batch).catch((error) => ({ error: error.message.split("\n")[0] }));
        const figures = row.error ?? [(row.loaded / 1e3).toFixed(1), (row.compiled / 1e3).toFixed(1), row.median.toFixed(0), row.difference.toExponential(1), Math.round(row.peak)].join(" | ");
        console.log(`| ${name} | ${batch} | ${device} | ${engine} | ${figures} |`);
      }
    }
  }
}
server.close();
