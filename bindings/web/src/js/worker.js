// The worker that runs the engine, so that nothing blocks the page.

import init, { Engine, hasRunOutOfMemory } from "./vitraux_web.js";
import { decoded, levels, size } from "./pixels.js";

const ready = init();
/** Engines by the number that the page knows them by. */
const engines = new Map();
let numbers = 0;

/** Why the last copy of an image to the GPU failed: wgpu would end the module. */
let uncopied;
const copy = globalThis.GPUQueue?.prototype.copyExternalImageToTexture;
if (copy) {
  GPUQueue.prototype.copyExternalImageToTexture = function (...operands) {
    try {
      copy.apply(this, operands);
    } catch (error) {
      uncopied = error;
    }
  };
}

/** Returns an image in a texture; undefined if the browser cannot copy it there, as some frames on software adapters. */
function copied(engine, image) {
  uncopied = undefined;
  const frame = engine.copy(image);
  if (!uncopied) return frame;
  frame.free();
  return undefined;
}

const buffers = (outputs) => Object.values(outputs).map(({ data }) => data.buffer);

/** Each returns its result, and what to transfer with it. */
const methods = {
  async load({ name, files, device, precision }) {
    const engine = await Engine.load(name, [...files.keys()], [...files.values()], device, precision);
    const description = JSON.parse(engine.describe());
    numbers += 1;
    engines.set(numbers, { engine, largest: description.largestFrame });
    return [{ number: numbers, description }];
  },

  async image({ number, frame, outputs }) {
    const { engine, largest } = engines.get(number);
    const image = largest || !(frame instanceof ImageData) ? await decoded(frame) : frame;
    try {
      const [width, height] = size(image);
      const frame = Math.max(width, height) <= largest ? copied(engine, image) : undefined;
      const computed = frame ? await engine.forwardFrame(frame, outputs) : await engine.forwardLevels(levels(image), width, height, outputs);
      return [{ outputs: computed, width, height }, buffers(computed)];
    } finally {
      image.close?.();
    }
  },

  async forward({ number, shape, data, outputs }) {
    const computed = await engines.get(number).engine.forward(shape, data, outputs);
    return [computed, buffers(computed)];
  },

  async paint({ number, name, data, input, head, width, height }) {
    const painted = engines.get(number).engine.paint(name, data, Uint32Array.from(input), head, width, height);
    const bitmap = await createImageBitmap(new ImageData(new Uint8ClampedArray(painted.buffer), width, height));
    return [bitmap, [bitmap]];
  },

  async dispose({ number }) {
    engines.get(number)?.engine.free();
    engines.delete(number);
    return [];
  },
};

function failure(error) {
  if (error instanceof WebAssembly.RuntimeError) {
    const kind = hasRunOutOfMemory() ? "out_of_memory" : "internal";
    const message = kind === "internal" ? `internal error: ${error.message}; please report it` : "WebAssembly's memory, 4 GiB at most, is too small for the model";
    return { message, kind, isFatal: true };
  }
  return { message: String(error.message ?? error), kind: error.kind ?? "internal" };
}

// Where an awaited call of the engine ends the module, its promise stays pending.
addEventListener("error", ({ error }) => error && postMessage({ failure: failure(error) }));

addEventListener("message", async ({ data: { call, method, args } }) => {
  try {
    await ready;
    const [result, transfer] = await methods[method](args);
    postMessage({ call, result }, transfer ?? []);
  } catch (error) {
    postMessage({ call, failure: failure(error) });
  }
});
