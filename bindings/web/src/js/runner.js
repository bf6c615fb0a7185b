// Calls of the worker.

import { VitrauxError } from "./error.js";

/** A worker and the calls that it has not answered. */
class Runner {
  #worker = start();
  #pending = new Map();
  #calls = 0;
  /** Why it ended, if it did. */
  failure;

  constructor() {
    this.#worker.addEventListener("message", ({ data }) => this.#answer(data));
    this.#worker.addEventListener("error", (event) => {
      // Its own errors have a message; without one it could not start.
      if (!event.message) this.#end(new VitrauxError("the worker cannot be started; the page's policy must allow it (worker-src, wasm-unsafe-eval)", "worker"));
    });
  }

  call(method, args, { transfer = [], signal } = {}) {
    if (this.failure) return Promise.reject(this.failure);
    this.#calls += 1;
    const call = this.#calls;
    return new Promise((resolve, reject) => {
      const cancel = () => {
        this.#worker.postMessage({ call, method: "cancel" });
        this.#settle(call)?.reject(signal.reason);
      };
      this.#pending.set(call, { resolve, reject, end: () => signal?.removeEventListener("abort", cancel) });
      this.#worker.postMessage({ call, method, args }, transfer);
      signal?.addEventListener("abort", cancel);
    });
  }

  /** Takes a call from those that wait; undefined if it waits no longer. */
  #settle(call) {
    const waiting = this.#pending.get(call);
    waiting?.end();
    this.#pending.delete(call);
    return waiting;
  }

  #answer({ call, result, failure }) {
    const error = failure && new VitrauxError(failure.message, failure.kind);
    if (failure?.isFatal) return this.#end(error);
    const waiting = this.#settle(call);
    if (error) waiting?.reject(error);
    else waiting?.resolve(result);
  }

  #end(error) {
    this.failure = error;
    this.#worker.terminate();
    for (const call of [...this.#pending.keys()]) this.#settle(call).reject(error);
  }
}

function start() {
  const url = new URL("./worker.js", import.meta.url);
  if (url.origin === globalThis.location?.origin) return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  // Workers must come from the page's origin; what they import may come from anywhere, such as a CDN.
  const blob = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" }));
  return new Worker(blob, { type: "module" });
}

let current;

/** Returns the worker that all models share. If the last one ended, the next model gets a new one. */
export function runner() {
  if (!current || current.failure) current = new Runner();
  return current;
}
