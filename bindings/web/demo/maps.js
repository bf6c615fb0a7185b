// Attention and the components of patches, drawn over the image.

/** Longest side in pixels of the drawn image. */
const SHOWN = 480;
/** Side in pixels of a head's small map. */
const SMALL = 96;
const OPACITY = 0.7;

/** The map, its choice of block and head, and the patch whose attention is shown. `changed` is called when another output is needed. */
export class Maps {
  #nodes;
  #changed;
  #model;
  /** The image and its map, as last shown. */
  #shown;
  /** Row and column of the chosen patch; none for the class token. */
  #patch;
  #head;

  constructor(nodes, changed) {
    this.#nodes = nodes;
    this.#changed = changed;
    nodes.block.addEventListener("input", changed);
    for (const choice of nodes.choices) choice.addEventListener("change", changed);
    nodes.canvas.addEventListener("click", ({ offsetX, offsetY }) => this.#point(offsetX / nodes.canvas.clientWidth, offsetY / nodes.canvas.clientHeight));
    nodes.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  set model(model) {
    this.#model = model;
    this.#patch = this.#head = this.#shown = undefined;
    Object.assign(this.#nodes.block, { max: model.depth, value: model.depth });
    this.#nodes.block.disabled = model.depth < 2;
    const heads = [undefined, ...Array(model.heads).keys()];
    this.#nodes.heads.replaceChildren(...heads.map((head) => this.#headButton(head)));
  }

  get #isAttention() {
    return [...this.#nodes.choices].find(({ checked }) => checked).value === "attention";
  }

  /** Returns the name of the output to show. */
  get output() {
    if (!this.#isAttention) return "pca";
    const [row, column] = this.#patch ?? [];
    const token = this.#patch && this.#shown ? this.#shown.prefix + row * this.#shown.map.grid[1] + column : 0;
    return `attn.${this.#nodes.block.value - 1}.${token}`;
  }

  /** Draws an image and its map. */
  async show(image, map) {
    const [width, height] = [image.displayWidth ?? image.width, image.displayHeight ?? image.height];
    const shrink = Math.min(1, SHOWN / Math.max(width, height));
    const copy = new OffscreenCanvas(Math.max(SMALL, Math.round(width * shrink)), Math.max(SMALL, Math.round(height * shrink)));
    copy.getContext("2d").drawImage(image, 0, 0, copy.width, copy.height);
    const prefix = this.#isAttention ? map.prefix : (this.#shown?.prefix ?? 0);
    this.#shown = { copy, map, prefix, size: [width, height], isAttention: this.#isAttention };
    await this.#draw();
  }

  /** Shows that there is no image. */
  clear() {
    this.#shown = undefined;
    for (const canvas of [this.#nodes.canvas, ...this.#nodes.heads.querySelectorAll("canvas")]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    this.#nodes.query.textContent = "";
  }

  async #draw() {
    const { copy, map, isAttention } = this.#shown;
    const { canvas, attention, query, number, block } = this.#nodes;
    attention.hidden = !isAttention;
    number.textContent = `${block.value} of ${block.max}`;
    await this.#paint(canvas, copy, map, this.#head, isAttention ? OPACITY : 1);
    canvas.setAttribute("aria-label", isAttention ? "Heat map of the attention over the image" : "Principal components of the patches as colours");
    const [row, column] = this.#patch ?? [];
    const of = this.#patch ? `the patch in row ${row + 1}, column ${column + 1}. Escape returns to the class token.` : "the class token. Click a patch, or move with the arrow keys, to see its own.";
    query.textContent = isAttention ? `Attention of ${of}` : "Patches with similar features have similar colours.";
    if (!isAttention) return;
    for (const button of this.#nodes.heads.children) {
      button.setAttribute("aria-pressed", String(button.head === this.#head));
      await this.#paint(button.querySelector("canvas"), copy, map, button.head, 1);
    }
  }

  async #paint(canvas, copy, map, head, opacity) {
    const isSmall = canvas !== this.#nodes.canvas;
    const [width, height] = isSmall ? [SMALL, Math.round((SMALL * copy.height) / copy.width)] : [copy.width, copy.height];
    const target = new OffscreenCanvas(width, height);
    target.getContext("2d").drawImage(copy, 0, 0, width, height);
    await map.paint(target, { head, opacity });
    // At once, so that nothing flickers.
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(target, 0, 0);
    if (!isSmall && this.#patch && this.#shown.isAttention) this.#mark(canvas);
  }

  /** Draws a frame around the chosen patch. */
  #mark(canvas) {
    const { map, size } = this.#shown;
    const { left, top, width, height } = map.patch(map.prefix + this.#patch[0] * map.grid[1] + this.#patch[1]);
    const [across, down] = [canvas.width / size[0], canvas.height / size[1]];
    const context = canvas.getContext("2d");
    Object.assign(context, { strokeStyle: "white", lineWidth: 3 });
    context.strokeRect(left * across, top * down, width * across, height * down);
  }

  #point(x, y) {
    if (!this.#shown?.isAttention) return;
    const { map, size } = this.#shown;
    const token = map.tokenAt(x * size[0], y * size[1]);
    if (token === undefined) return;
    this.#choose([Math.floor((token - map.prefix) / map.grid[1]), (token - map.prefix) % map.grid[1]]);
  }

  #key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") return this.#choose(undefined);
    if (!step || !this.#shown?.isAttention) return;
    event.preventDefault();
    const { grid } = this.#shown.map;
    const from = this.#patch ?? grid.map((size) => Math.floor(size / 2));
    this.#choose(from.map((at, axis) => Math.min(grid[axis] - 1, Math.max(0, at + step[axis]))));
  }

  #choose(patch) {
    this.#patch = patch;
    this.#changed();
  }

  #headButton(head) {
    const button = Object.assign(document.createElement("button"), { type: "button", head });
    button.append(Object.assign(document.createElement("canvas"), { width: SMALL, height: SMALL, ariaHidden: "true" }), head === undefined ? "Mean" : `Head ${head + 1}`);
    button.addEventListener("click", () => {
      this.#head = head;
      // If the model has been replaced, the next one is drawn anyway.
      if (this.#shown) this.#draw().catch(() => undefined);
    });
    return button;
  }
}
