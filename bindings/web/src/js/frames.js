// Images on their way to the worker.

import { VitrauxError } from "./error.js";
import { AS_STORED } from "./pixels.js";

const is = (source, name) => name in globalThis && source instanceof globalThis[name];

/** Returns what the worker gets of an image, and what of it is transferred. The image itself stays as it is. */
export async function frame(source) {
  if (is(source, "Blob") || is(source, "ImageData")) return [source, []];
  const taken = await taking(source);
  return [taken, [taken]];
}

async function taking(source) {
  if (is(source, "VideoFrame")) return source.clone();
  if (is(source, "HTMLVideoElement")) {
    if (source.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) throw new VitrauxError("the video has no frame yet; wait for its event loadeddata", "argument");
    return is(globalThis, "VideoFrame") ? new VideoFrame(source) : bitmap(source);
  }
  if (is(source, "HTMLImageElement")) {
    await source.decode().catch(() => {
      throw new VitrauxError("the image could not be decoded", "image");
    });
    return bitmap(source);
  }
  if (["ImageBitmap", "HTMLCanvasElement", "OffscreenCanvas"].some((name) => is(source, name))) return bitmap(source);
  throw new VitrauxError(`expected an image, found ${source?.constructor?.name ?? source}`, "argument");
}

function bitmap(source) {
  return createImageBitmap(source, AS_STORED).catch((error) => {
    throw new VitrauxError(`the image cannot be read: ${error.message}`, "image");
  });
}
