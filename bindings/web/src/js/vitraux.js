// Vision Transformers in the browser. The types are in vitraux.d.ts.

import { VitrauxError } from "./error.js";
import { fetched } from "./files.js";
import { frame } from "./frames.js";
import { PatchMap } from "./map.js";
import { runner } from "./runner.js";

export { PatchMap, VitrauxError };

/** A model on a device. */
export class Vitraux {
  #runner;
  #number;
  #vector;

  /** Use `Vitraux.load`. */
  constructor(runner, { number, description: { vector, largestFrame, ...description } }) {
    this.#runner = runner;
    this.#number = number;
    this.#vector = vector;
    Object.assign(this, description);
  }

  static async load(source, { device = "auto", precision = "f32", ...options } = {}) {
    // It starts while files arrive.
    const worker = runner();
    options.signal?.throwIfAborted();
    const { name, files } = source === "digits" ? { name: source, files: new Map() } : await fetched(source, options);
    const model = new Vitraux(worker, await worker.call("load", { name, files, device, precision }));
    if (options.signal?.aborted) model.dispose();
    options.signal?.throwIfAborted();
    return model;
  }

  async classify(source, { topK = 5 } = {}) {
    if (!this.classes) throw new VitrauxError(`${this.name} has no classes; use embed`, "argument");
    const { probabilities } = await this.#image(source, ["probabilities"]);
    return Array.from(probabilities.data, (score, index) => ({ index, label: this.labels[index] ?? `LABEL_${index}`, score }))
      .sort((a, b) => b.score - a.score)
      .slice(0, topK);
  }

  async embed(source, { normalize = false } = {}) {
    if (!this.#vector) throw new VitrauxError(`${this.name} has no vector per image; use forward`, "argument");
    const { data } = (await this.#image(source, [this.#vector]))[this.#vector];
    if (!normalize) return data;
    const norm = Math.hypot(...data);
    return norm ? data.map((value) => value / norm) : data;
  }

  async attention(source, { layer = -1, query = 0 } = {}) {
    const name = `attn.${layer < 0 ? this.depth + layer : layer}.${query}`;
    return (await this.#image(source, [name]))[name];
  }

  async pca(source) {
    return (await this.#image(source, ["pca"])).pca;
  }

  async forward(input, outputs) {
    const { shape, data } = input;
    if (!shape) return this.#image(input, outputs);
    return this.#call("forward", { shape: Uint32Array.from(shape), data: Float32Array.from(data), outputs });
  }

  dispose() {
    if (this.#number && !this.#runner.failure) this.#call("dispose", {});
    this.#number = undefined;
  }

  async #image(source, names) {
    const [taken, transfer] = await frame(source);
    const { outputs, width, height } = await this.#call("image", { frame: taken, outputs: names }, transfer);
    const shown = ([name, output]) => [name, output.map ? new PatchMap(name, output, { width, height }, (method, args) => this.#call(method, args)) : output];
    return Object.fromEntries(Object.entries(outputs).map(shown));
  }

  async #call(method, args, transfer) {
    if (!this.#number) throw new VitrauxError("the model was disposed of; load it again", "argument");
    return this.#runner.call(method, { number: this.#number, ...args }, transfer);
  }
}
