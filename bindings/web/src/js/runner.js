// Calls of the worker.

import { VitrauxError } from "./error.js";
import { spawn } from "./spawn.js";

/** A worker and the calls that it has not answered. */
class Runner {
  #worker;
  #channel;
  #pending = new Map();
  #calls = 0;
  /** Why it ended, if it did. */
  failure;

  constructor() {
    // The engine waits for its threads, so they tell of their ends themselves, on a channel named as the worker.
    const name = `vitraux ${Math.random().toString(36).slice(2)}`;
    if (globalThis.crossOriginIsolated) {
      this.#channel = new BroadcastChannel(name);
      this.#channel.addEventListener("message", ({ data }) => this.#answer(data));
    }
    try {
      this.#worker = start(name);
    } catch (cause) {
      throw unstarted(cause);
    }
    this.#worker.addEventListener("message", ({ data }) => this.#answer(data));
    this.#worker.addEventListener("error", (event) => {
      // Uncaught errors have a message; a worker that could not start has none.
      if (!event.message) this.#end(unstarted());
    });
  }

  call(method, args, { transfer = [], signal } = {}) {
    if (this.failure) return Promise.reject(this.failure);
    const call = this.#calls + 1;
    return new Promise((resolve, reject) => {
      const cancel = () => {
        this.#worker.postMessage({ call, method: "cancel" });
        this.#settle(call)?.reject(signal.reason);
      };
      this.#send({ call, method, args }, transfer);
      this.#pending.set(call, { resolve, reject, end: () => signal?.removeEventListener("abort", cancel) });
      signal?.addEventListener("abort", cancel);
    });
  }

  /** Sends a call. The worker counts those that arrive, so others get no number. */
  #send(message, transfer) {
    try {
      this.#worker.postMessage(message, transfer);
    } catch (cause) {
      throw unsent(message.method, cause);
    }
    this.#calls = message.call;
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
    this.#channel?.close();
    for (const call of [...this.#pending.keys()]) this.#settle(call).reject(error);
  }
}

function unstarted(cause) {
  const message = "the worker cannot be started; its files must be there, and the page's policy must allow it (worker-src, wasm-unsafe-eval)";
  return new VitrauxError(message, "worker", { cause });
}

function unsent(method, cause) {
  if (method === "image") {
    const message = `the image cannot be read; one of another origin needs the attribute crossorigin, and a server that allows it (CORS): ${cause.message}`;
    return new VitrauxError(message, "image", { cause });
  }
  const message = `${method}: expected values that can be copied to the worker, found others; pass plain values, and data that was not transferred: ${cause.message}`;
  return new VitrauxError(message, "argument", { cause });
}

function start(name) {
  const direct = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name });
  return spawn(new URL("./worker.js", import.meta.url), direct, name);
}

let current;

/** Returns the worker that all models share. If the last one ended, the next model gets a new one. */
export function runner() {
  if (!current || current.failure) current = new Runner();
  return current;
}
