// The engine's module, with threads where the page allows them.

import { spawn } from "./spawn.js";

/** At most; beyond that, memory bandwidth is the limit. */
const THREADS = 16;

/** Loads the module. Workers share memory only in pages that are isolated from other origins. */
export async function loadModule() {
  const shared = globalThis.crossOriginIsolated ? await initialised(import("./threads/vitraux_web.js")).catch(() => undefined) : undefined;
  if (!shared) return initialised(import("./vitraux_web.js"));
  await startThreads(shared, Math.min(THREADS, navigator.hardwareConcurrency));
  return shared;
}

async function initialised(importing) {
  const module = await importing;
  await module.default();
  return module;
}

/** Starts threads. Where the page's policy forbids it, the engine works alone. */
async function startThreads({ sharedModule, useThreads }, count) {
  const workers = [];
  const begin = (ready, failed) => {
    const direct = () => new Worker(new URL("./thread.js", import.meta.url), { type: "module", name: globalThis.name });
    const worker = spawn(new URL("./thread.js", import.meta.url), direct, globalThis.name);
    workers.push(worker);
    worker.addEventListener("message", ready);
    worker.addEventListener("error", failed);
    worker.postMessage(sharedModule());
  };
  try {
    await Promise.all([...Array(count)].map(() => new Promise(begin)));
    useThreads(count);
  } catch {
    workers.forEach((worker) => worker.terminate());
  }
}
