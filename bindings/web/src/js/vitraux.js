// Vision Transformers in the browser. The types are in vitraux.d.ts.

import init, { Engine, Files } from "./vitraux_web.js";
import { VitrauxError } from "./error.js";
import { fetched, folder } from "./files.js";
import { pixels } from "./pixels.js";

export { VitrauxError };

let module;

/** A model on a device. */
export class Vitraux {
  #engine;

  /** Use `Vitraux.load`. */
  constructor(engine) {
    this.#engine = engine;
    Object.assign(this, JSON.parse(engine.describe()));
  }

  static async load(source, { device = "auto", precision = "f32", ...options } = {}) {
    module ??= init();
    await module;
    options.signal?.throwIfAborted();
    let files, name = "digits";
    if (source !== "digits") {
      ({ name, files } = await fetched(folder(source, options), new Files(), options));
    }
    options.signal?.throwIfAborted();
    return new Vitraux(await Engine.load(name, files, device, precision));
  }

  get outputs() {
    return this.#live().outputs();
  }

  async classify(source, { topK = 5 } = {}) {
    if (!this.classes) throw new VitrauxError(`${this.name} has no classes; use embed`, "argument");
    const { probabilities } = await this.#run(source, ["probabilities"]);
    return Array.from(probabilities.data, (score, index) => ({ index, label: this.labels[index] ?? `LABEL_${index}`, score }))
      .sort((a, b) => b.score - a.score)
      .slice(0, topK);
  }

  async embed(source, { normalize = false } = {}) {
    if (!this.vector) throw new VitrauxError(`${this.name} has no vector per image; use forward`, "argument");
    const { data } = (await this.#run(source, [this.vector]))[this.vector];
    if (!normalize) return data;
    const norm = Math.hypot(...data);
    return norm ? data.map((value) => value / norm) : data;
  }

  async attention(source, { layer = -1, query = 0 } = {}) {
    const name = `attn.${layer < 0 ? this.depth + layer : layer}.${query}`;
    return (await this.#run(source, [name]))[name];
  }

  async forward({ shape, data }, outputs) {
    return this.#live().forward(Uint32Array.from(shape), Float32Array.from(data), outputs);
  }

  dispose() {
    this.#engine?.free();
    this.#engine = undefined;
  }

  async #run(source, outputs) {
    const engine = this.#live();
    const { data, width, height } = await pixels(source);
    return engine.forwardImage(data, width, height, outputs);
  }

  #live() {
    if (!this.#engine) throw new VitrauxError("the model was disposed of; load it again", "argument");
    return this.#engine;
  }
}
