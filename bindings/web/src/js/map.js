// Maps of images: a value or a colour for each patch.

import { VitrauxError } from "./error.js";

/** Longest side in pixels of what is drawn; canvases scale it. */
const LONGEST = 1024;

export class PatchMap {
  #call;
  #name;
  #image;
  #place;

  constructor(name, { shape, data, map }, image, call) {
    this.shape = shape;
    this.data = data;
    this.#place = JSON.parse(map);
    this.grid = this.#place.grid;
    this.prefix = this.#place.prefix;
    this.#name = name;
    this.#image = image;
    this.#call = call;
  }

  tokenAt(x, y) {
    const { grid, share, seen } = this.#place;
    const [row, column] = [[y, seen[1], seen[3], 0], [x, seen[0], seen[2], 1]].map(([at, start, size, axis]) => Math.floor(((at - start) / size / share[axis]) * grid[axis]));
    return row >= 0 && row < grid[0] && column >= 0 && column < grid[1] ? this.prefix + row * grid[1] + column : undefined;
  }

  patch(token) {
    const { grid, share, seen } = this.#place;
    const [height, width] = [0, 1].map((axis) => (seen[3 - axis] * share[axis]) / grid[axis]);
    const place = token - this.prefix;
    return { left: seen[0] + (place % grid[1]) * width, top: seen[1] + Math.floor(place / grid[1]) * height, width, height };
  }

  async paint(canvas, { head, opacity = 1 } = {}) {
    const context = canvas.getContext("2d");
    if (!context) throw new VitrauxError("the canvas has another context than 2d", "argument");
    const scale = [canvas.width / this.#image.width, canvas.height / this.#image.height];
    const [left, top, width, height] = this.#place.seen.map((value, i) => value * scale[i % 2]);
    const shrink = Math.min(1, LONGEST / Math.max(width, height));
    const [across, down] = [width, height].map((value) => Math.max(1, Math.round(value * shrink)));
    const bitmap = await this.#call("paint", { name: this.#name, data: this.data, input: this.#place.input, head, width: across, height: down });
    context.save();
    context.resetTransform();
    context.globalAlpha = opacity;
    context.drawImage(bitmap, left, top, width, height);
    context.restore();
    bitmap.close();
  }
}
