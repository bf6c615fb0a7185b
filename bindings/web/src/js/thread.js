// A thread of the CPU: a worker that shares the engine's memory.

import init, { runThread } from "./threads/vitraux_web.js";

addEventListener("message", async ({ data: [module, memory] }) => {
  await init({ module_or_path: module, memory });
  postMessage("ready");
  runThread();
});
