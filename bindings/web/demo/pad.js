// The pad that digits are drawn on.

/** Strokes of digits, in hundredths of the pad. */
const DIGITS = [
  [[[50, 18], [40, 23], [34, 38], [33, 55], [37, 72], [46, 82], [56, 81], [64, 70], [67, 53], [65, 35], [59, 22], [50, 18]]],
  [[[40, 32], [52, 18], [52, 50], [52, 82]]],
  [[[33, 33], [38, 22], [50, 18], [62, 23], [66, 35], [60, 48], [48, 62], [33, 80], [50, 80], [69, 80]]],
  [[[34, 25], [45, 18], [60, 20], [66, 32], [60, 44], [47, 48], [62, 52], [68, 66], [60, 79], [45, 82], [33, 75]]],
  [[[50, 18], [42, 38], [32, 58], [52, 58], [70, 58]], [[58, 40], [58, 84]]],
  [[[66, 20], [40, 20], [37, 46], [50, 42], [64, 50], [68, 64], [60, 78], [46, 82], [34, 76]]],
  [[[58, 18], [45, 30], [37, 48], [35, 66], [43, 80], [57, 81], [66, 69], [61, 56], [48, 54], [37, 65]]],
  [[[33, 20], [50, 20], [68, 20], [56, 42], [48, 62], [44, 82]]],
  [[[50, 48], [38, 38], [38, 25], [50, 18], [62, 25], [62, 38], [50, 48], [36, 60], [36, 75], [50, 82], [64, 75], [64, 60], [50, 48]]],
  [[[64, 36], [55, 47], [42, 46], [36, 35], [40, 22], [52, 18], [63, 24], [64, 36], [62, 60], [56, 82]]],
];

/** Width of a stroke, in hundredths. */
const STROKE = 9;

/** Side in pixels of the image that the model gets. */
const SIDE = 128;

/** A pad on a canvas, with its buttons. `changed` is called after each stroke, and while one is drawn. */
export class Pad {
  #canvas;
  #changed;
  #strokes = [];
  /** Whether the pad shows an example rather than the visitor's drawing. */
  #isExample = false;

  constructor(canvas, tools, changed) {
    this.#canvas = canvas;
    this.#changed = changed;
    DIGITS.forEach((_, digit) => tools.append(button(String(digit), `Write a ${digit}`, () => this.write(digit))));
    tools.append(button("Clear", "Clear the pad", () => this.#set([])));
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      if (this.#isExample) this.#strokes = [];
      this.#isExample = false;
      this.#strokes.push([]);
      this.#extend(event);
    });
    canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && this.#extend(event));
  }

  /** Writes a digit in place of what is drawn. */
  write(digit) {
    this.#set(DIGITS[digit]);
    this.#isExample = true;
  }

  get isEmpty() {
    return this.#strokes.length === 0;
  }

  /** Returns the drawing with an even margin, as the model was trained. */
  image() {
    const points = this.#strokes.flat();
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const side = Math.max(right - left, bottom - top, 20) + 2 * STROKE;
    const canvas = new OffscreenCanvas(SIDE, SIDE);
    draw(canvas, this.#strokes, [(left + right - side) / 2, (top + bottom - side) / 2], side);
    return canvas;
  }

  #set(strokes) {
    this.#isExample = false;
    this.#strokes = strokes.map((stroke) => [...stroke]);
    this.#show();
  }

  #extend(event) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    const samples = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY } of samples.length ? samples : [event]) {
      this.#strokes.at(-1).push([(100 * (clientX - left)) / width, (100 * (clientY - top)) / height]);
    }
    this.#show();
  }

  #show() {
    draw(this.#canvas, this.#strokes, [0, 0], 100);
    this.#changed();
  }
}

function button(text, label, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text, onclick: act });
  made.setAttribute("aria-label", label);
  return made;
}

/** Draws the part of the strokes that begins at `origin` and is `side` hundredths wide. */
function draw(canvas, strokes, origin, side) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / side;
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: STROKE * scale, strokeStyle: "black" });
  for (const stroke of strokes) {
    const [first, ...rest] = stroke.map((point) => point.map((value, axis) => (value - origin[axis]) * scale));
    context.beginPath();
    context.moveTo(...first);
    context.lineTo(...first);
    // Corners are rounded, as by a pen.
    rest.forEach((point, i) => {
      const next = rest[i + 1];
      if (next) context.quadraticCurveTo(...point, (point[0] + next[0]) / 2, (point[1] + next[1]) / 2);
      else context.lineTo(...point);
    });
    context.stroke();
  }
}
