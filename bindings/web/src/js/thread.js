// A thread of the CPU: a worker that shares the engine's memory. Its name is that of the channel to the page.

import { fatal } from "./fatal.js";
import init, { hasRunOutOfMemory, runThread } from "./threads/vitraux_web.js";

addEventListener("message", async ({ data: [module, memory] }) => {
  try {
    await init({ module_or_path: module, memory });
  } catch (error) {
    // The engine hears of it, and works alone.
    return reportError(error);
  }
  postMessage("ready");
  try {
    runThread();
  } catch (error) {
    // The engine waits for this thread, and hears nothing.
    new BroadcastChannel(globalThis.name).postMessage({ failure: fatal(error, hasRunOutOfMemory) });
  }
});
