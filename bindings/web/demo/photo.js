// Photos: dropped, pasted or chosen.

import { AS_STORED } from "./vitraux/stored.js";

/** Longest side in pixels of the copy that is shown. */
const SHOWN = 1024;

/** The place for photos. `changed` is called with each. */
export class Photo {
  /** The photo, or undefined. */
  image;
  #label;
  #canvas;
  #changed;

  constructor(label, canvas, input, changed) {
    this.#label = label;
    this.#canvas = canvas;
    this.#changed = changed;
    input.addEventListener("change", () => this.open(input.files[0]));
    // Anywhere on the page: elsewhere, the browser would leave it for the photo.
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      label.classList.add("over");
    });
    document.addEventListener("dragleave", () => label.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      label.classList.remove("over");
      this.open(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => this.open([...event.clipboardData.files].find(({ type }) => type.startsWith("image/"))));
  }

  async open(file) {
    if (!file) return;
    const image = await createImageBitmap(file, AS_STORED).catch(() => undefined);
    if (!image) return this.#changed(new Error(`${file.name} is no image that this browser can decode`));
    this.image?.close();
    this.image = image;
    const shrink = Math.min(1, SHOWN / Math.max(image.width, image.height));
    Object.assign(this.#canvas, { width: Math.round(image.width * shrink), height: Math.round(image.height * shrink), hidden: false });
    this.#canvas.getContext("2d").drawImage(image, 0, 0, this.#canvas.width, this.#canvas.height);
    this.#label.querySelector("span").textContent = `${file.name}, ${image.width} × ${image.height}. Drop, paste or choose another.`;
    this.#changed();
  }
}
