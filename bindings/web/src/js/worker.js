// The worker that runs the engine, so that nothing blocks the page.

import { fatal } from "./fatal.js";
import { loadModule } from "./module.js";
import { decoded, hasLevels, pixels, size } from "./pixels.js";

/** Passes of a model at a time: one is computed while the next is prepared. Each has buffers of its own. */
const PASSES = 2;

let Engine;
let hasRunOutOfMemory;
const ready = loadModule().then((module) => ({ Engine, hasRunOutOfMemory } = module));
ready.catch((error) => postMessage({ failure: { message: `the engine cannot be loaded: ${error.message}`, kind: "worker", isFatal: true } }));

/** Models by the ID that the page knows them by. */
const models = new Map();
let lastId = 0;
/** Loads run one after another, so that models share a device. */
let loaded = Promise.resolve();
/** Calls that have not ended, with whether they are still wanted. */
const calls = new Map();
/** Number of the last call that has arrived. They arrive in order. */
let arrived = 0;

/** Why the last copy of an image to the GPU failed: wgpu would panic. */
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
  const texture = engine.copy(image);
  if (!uncopied) return texture;
  texture.free();
  return undefined;
}

const buffers = (outputs) => Object.values(outputs).map(({ data }) => data.buffer);

/** Lends the engine of a model, which is freed when the last call that has it ends. */
async function withEngine(id, work) {
  const model = models.get(id);
  model.users += 1;
  try {
    return await work(model);
  } finally {
    release(model);
  }
}

function release(model) {
  model.users -= 1;
  if (model.users === 0) model.engine.free();
}

/** Computes a pass in its turn, if it is still wanted then. */
async function inTurn(model, isWanted, pass) {
  if (model.passes === PASSES) await new Promise((begin) => model.waiting.push(begin));
  else model.passes += 1;
  try {
    return isWanted() ? await pass() : [];
  } finally {
    const next = model.waiting.shift();
    if (next) next();
    else model.passes -= 1;
  }
}

/** Each returns its result, and what to transfer with it. */
const methods = {
  async load({ name, files, device, precision }) {
    const loading = loaded.then(() => Engine.load(name, [...files.keys()], [...files.values()], device, precision));
    loaded = loading.catch(() => undefined);
    const engine = await loading;
    const description = JSON.parse(engine.describe());
    lastId += 1;
    // The page is the first of its users.
    models.set(lastId, { engine, largest: description.largestFrame, users: 1, passes: 0, waiting: [] });
    return [{ id: lastId, description }];
  },

  image: ({ id, image: posted, outputs }, isWanted) =>
    withEngine(id, (model) =>
      inTurn(model, isWanted, async () => {
        const { engine, largest } = model;
        const image = largest || !hasLevels(posted) ? await decoded(posted) : posted;
        try {
          const [width, height] = size(image);
          const texture = Math.max(width, height) <= largest ? copied(engine, image) : undefined;
          const computed = texture ? await engine.forwardTexture(texture, outputs) : await engine.forwardPixels(pixels(image), width, height, outputs);
          return [{ outputs: computed, width, height }, buffers(computed)];
        } finally {
          image.close?.();
        }
      }).finally(() => posted.close?.()),
    ),

  forward: ({ id, shape, data, outputs }, isWanted) =>
    withEngine(id, (model) =>
      inTurn(model, isWanted, async () => {
        const computed = await model.engine.forward(shape, data, outputs);
        return [computed, buffers(computed)];
      }),
    ),

  paint: ({ id, name, data, input, head, width, height }) =>
    withEngine(id, async ({ engine }) => {
      const painted = engine.paint(name, data, Uint32Array.from(input), head, width, height);
      const bitmap = await createImageBitmap(new ImageData(new Uint8ClampedArray(painted.buffer), width, height));
      return [bitmap, [bitmap]];
    }),

  async dispose({ id }) {
    release(models.get(id));
    models.delete(id);
    return [];
  },
};

function failure(error) {
  if (error instanceof WebAssembly.RuntimeError) return fatal(error, hasRunOutOfMemory);
  return { message: String(error?.message ?? error), kind: error?.kind ?? "internal" };
}

// Where an awaited call ends the module, its promise stays pending. Nothing but the engine can fail like that.
addEventListener("error", ({ error }) => postMessage({ failure: fatal(error, hasRunOutOfMemory) }));

/** Answers a call that the browser could not copy: it came without its number. */
function unread() {
  arrived += 1;
  postMessage({ call: arrived, failure: { message: "the call could not be copied to the worker; has its data been transferred, or is it too large?", kind: "argument" } });
}

addEventListener("messageerror", unread);
addEventListener("message", async ({ data }) => {
  // Chromium sends null in place of messageerror.
  if (!data) return unread();
  const { call, method, args } = data;
  if (method === "cancel") return calls.has(call) && calls.set(call, false);
  arrived = call;
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
