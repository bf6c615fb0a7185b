// Images on their way to the worker.

import { VitrauxError } from "./error.js";
import { AS_STORED } from "./stored.js";

const is = (source, name) => name in globalThis && source instanceof globalThis[name];

/** Returns what the worker gets of an image, and what of it is transferred. The image itself stays the page's. */
export async function posted(source) {
  if (is(source, "ImageData") && !source.data.length) {
    throw new VitrauxError("expected an image, found ImageData without pixels: its buffer was transferred; make another", "argument");
  }
  if (is(source, "Blob") || is(source, "ImageData")) return [source, []];
  try {
    const image = await copy(source);
    return [image, [image]];
  } catch (cause) {
    if (cause instanceof VitrauxError) throw cause;
    throw new VitrauxError(`the image cannot be read: ${cause.message}`, "image", { cause });
  }
}

async function copy(source) {
  if (is(source, "VideoFrame")) return source.clone();
  if (is(source, "HTMLVideoElement")) {
    if (source.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) throw new VitrauxError("the video has no frame yet; wait for its event loadeddata", "argument");
    return "VideoFrame" in globalThis ? new VideoFrame(source) : createImageBitmap(source, AS_STORED);
  }
  if (is(source, "HTMLImageElement")) await source.decode();
  else if (!["ImageBitmap", "HTMLCanvasElement", "OffscreenCanvas"].some((name) => is(source, name))) {
    throw new VitrauxError(`expected an image, found ${source?.constructor?.name ?? source}`, "argument");
  }
  return createImageBitmap(source, AS_STORED);
}
