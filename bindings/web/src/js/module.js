// The engine's module, with threads where the page allows them.

/** Threads that share the work of the CPU, at most: more wait for memory. */
const THREADS = 16;

/** Loads the module. Workers share memory only in pages that are isolated from other origins. */
export async function load() {
  const shared = globalThis.crossOriginIsolated ? await import("./threads/vitraux_web.js").catch(() => undefined) : undefined;
  const module = shared ?? (await import("./vitraux_web.js"));
  await module.default();
  if (shared) await start(shared, Math.min(THREADS, navigator.hardwareConcurrency));
  return module;
}

/** Starts threads. Where the page's policy forbids it, the engine works alone. */
async function start({ sharedModule, useThreads }, count) {
  const workers = [];
  const begin = (ready, failed) => {
    const worker = new Worker(new URL("./thread.js", import.meta.url), { type: "module" });
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
