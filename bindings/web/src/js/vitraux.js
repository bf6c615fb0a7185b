// Vision Transformers in the browser. The types are in vitraux.d.ts.

import { VitrauxError } from "./error.js";
import { fetched } from "./files.js";
import { posted } from "./images.js";
import { PatchMap } from "./map.js";
import { runner } from "./runner.js";

export { PatchMap, VitrauxError };

/** A model on a device. */
export class Vitraux {
  #runner;
  #id;
  #vector;

  /** Use `Vitraux.load`. */
  constructor(runner, { id, description: { vector, largestFrame, ...description } }) {
    this.#runner = runner;
    this.#id = id;
    this.#vector = vector;
    Object.assign(this, description);
  }

  static async load(source, { device = "auto", precision = "f32", ...options } = {}) {
    // It starts while files arrive.
    const worker = runner();
    options.signal?.throwIfAborted();
    const { name, files } = source === "digits" ? { name: source, files: new Map() } : await fetched(source, options);
    const loading = worker.call("load", { name, files, device, precision });
    const model = loading.then((loaded) => new Vitraux(worker, loaded));
    return unlessAborted(model, options.signal);
  }

  async classify(source, { topK = 5, signal } = {}) {
    if (!this.classes) throw new VitrauxError(`${this.name} has no classes; use embed`, "argument");
    if (!isCount(topK)) throw new VitrauxError(`expected a whole number as topK, found ${typeof topK} ${String(topK)}; all classes are ${this.classes}`, "argument");
    const { probabilities } = await this.#image(source, ["probabilities"], signal);
    return Array.from(probabilities.data, (score, index) => ({ index, label: this.labels[index] ?? `LABEL_${index}`, score }))
      .sort((a, b) => b.score - a.score)
      .slice(0, topK);
  }

  async embed(source, { normalize = false, signal } = {}) {
    if (!this.#vector) throw new VitrauxError(`${this.name} has no vector per image; use forward`, "argument");
    const { data } = (await this.#image(source, [this.#vector], signal))[this.#vector];
    if (!normalize) return data;
    const norm = Math.hypot(...data);
    return norm ? data.map((value) => value / norm) : data;
  }

  async attention(source, { layer = -1, query = 0, signal } = {}) {
    const name = `attn.${layer < 0 ? this.depth + layer : layer}.${query}`;
    return (await this.#image(source, [name], signal))[name];
  }

  async pca(source, { signal } = {}) {
    return (await this.#image(source, ["pca"], signal)).pca;
  }

  async forward(input, outputs, { signal } = {}) {
    if (!Array.isArray(outputs) || !outputs.every((name) => typeof name === "string")) {
      throw new VitrauxError("expected an array of the names of outputs, as in model.outputs", "argument");
    }
    if (!input?.shape) return this.#image(input, outputs, signal);
    return this.#call("forward", { ...tensor(input), outputs }, { signal });
  }

  dispose() {
    // If the worker has ended, nothing is left to free.
    if (this.#id) this.#call("dispose", {}).catch(() => undefined);
    this.#id = undefined;
  }

  async #image(source, names, signal) {
    this.#check(signal);
    const [image, transfer] = await posted(source);
    const computing = this.#call("image", { image, outputs: names }, { transfer, signal });
    // A copy that has not gone to the worker is closed here.
    const { outputs, width, height } = await computing.finally(() => transfer.forEach((copy) => copy.close()));
    const shown = ([name, output]) => [name, output.map ? new PatchMap(name, output, { width, height }, (method, args) => this.#call(method, args)) : output];
    return Object.fromEntries(Object.entries(outputs).map(shown));
  }

  #check(signal) {
    if (!this.#id) throw new VitrauxError("the model was disposed of; load it again", "argument");
    signal?.throwIfAborted();
  }

  async #call(method, args, options) {
    this.#check(options?.signal);
    return this.#runner.call(method, { id: this.#id, ...args }, options);
  }
}

const isCount = (value) => Number.isInteger(value) && value >= 0;

/** Returns a tensor as the worker takes it. */
function tensor({ shape, data }) {
  if (!shape[Symbol.iterator] || ![...shape].every((size) => isCount(size) && size < 2 ** 32)) {
    throw new VitrauxError(`expected an array of whole numbers as shape, found ${String(shape)}`, "argument");
  }
  try {
    return { shape: Uint32Array.from(shape), data: Float32Array.from(data) };
  } catch (cause) {
    throw new VitrauxError(`expected an array of numbers as data: ${cause.message}`, "argument", { cause });
  }
}

/** Returns the model, or throws as soon as the signal says so and disposes of the model when it is there. */
async function unlessAborted(model, signal) {
  if (!signal) return model;
  let abort;
  const aborted = new Promise((_, reject) => {
    abort = () => {
      model.then((model) => model.dispose(), () => undefined);
      reject(signal.reason);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  });
  return Promise.race([model, aborted]).finally(() => signal.removeEventListener("abort", abort));
}
