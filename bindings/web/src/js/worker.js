// The worker that runs the engine, so that nothing blocks the page.

import { load } from "./module.js";
import { decoded, levels, size } from "./pixels.js";

let Engine;
let hasRunOutOfMemory;
const ready = load().then((module) => ({ Engine, hasRunOutOfMemory } = module));

/** Models by the number that the page knows them by. */
const models = new Map();
let numbers = 0;
/** Calls that have not ended, with whether they are still wanted. */
const calls = new Map();

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

/** Lends the engine of a model, which is freed when the last call that has it ends. */
async function lent(number, work) {
  const model = models.get(number);
  model.users += 1;
  try {
    return await work(model.engine, model.largest);
  } finally {
    release(model);
  }
}

function release(model) {
  model.users -= 1;
  if (model.users === 0) model.engine.free();
}

/** Each returns its result, and what to transfer with it. */
const methods = {
  async load({ name, files, device, precision }) {
    const engine = await Engine.load(name, [...files.keys()], [...files.values()], device, precision);
    const description = JSON.parse(engine.describe());
    numbers += 1;
    // The page is the first of its users.
    models.set(numbers, { engine, largest: description.largestFrame, users: 1 });
    return [{ number: numbers, description }];
  },

  image: ({ number, frame, outputs }, isWanted) => lent(number, async (engine, largest) => {
    const image = largest || !(frame instanceof ImageData) ? await decoded(frame) : frame;
    try {
      if (!isWanted()) return [];
      const [width, height] = size(image);
      const frame = Math.max(width, height) <= largest ? copied(engine, image) : undefined;
      const computed = frame ? await engine.forwardFrame(frame, outputs) : await engine.forwardLevels(levels(image), width, height, outputs);
      return [{ outputs: computed, width, height }, buffers(computed)];
    } finally {
      image.close?.();
    }
  }),

  forward: ({ number, shape, data, outputs }, isWanted) => lent(number, async (engine) => {
    if (!isWanted()) return [];
    const computed = await engine.forward(shape, data, outputs);
    return [computed, buffers(computed)];
  }),

  paint: ({ number, name, data, input, head, width, height }) => lent(number, async (engine) => {
    const painted = engine.paint(name, data, Uint32Array.from(input), head, width, height);
    const bitmap = await createImageBitmap(new ImageData(new Uint8ClampedArray(painted.buffer), width, height));
    return [bitmap, [bitmap]];
  }),

  async dispose({ number }) {
    release(models.get(number));
    models.delete(number);
    return [];
  },
};

function failure(error) {
  if (error instanceof WebAssembly.RuntimeError) {
    const kind = hasRunOutOfMemory?.() ? "out_of_memory" : "internal";
    const message = kind === "internal" ? `internal error: ${error.message}; please report it` : "WebAssembly's memory, 4 GiB at most, is too small for the model";
    return { message, kind, isFatal: true };
  }
  return { message: String(error.message ?? error), kind: error.kind ?? "internal" };
}

// Where an awaited call of the engine ends the module, its promise stays pending.
addEventListener("error", ({ error }) => error && postMessage({ failure: failure(error) }));

addEventListener("message", async ({ data: { call, method, args } }) => {
  if (method === "cancel") return calls.has(call) && calls.set(call, false);
  calls.set(call, true);
  try {
    await ready;
    const [result, transfer] = await methods[method](args, () => calls.get(call));
    postMessage({ call, result }, transfer ?? []);
  } catch (error) {
    postMessage({ call, failure: failure(error) });
  } finally {
    calls.delete(call);
  }
});
