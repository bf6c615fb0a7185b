// RGBA levels of images.

import { VitrauxError } from "./error.js";

/** Returns the levels of an image, without premultiplied opacity. */
export async function pixels(source) {
  if (source instanceof ImageData) return source;
  if (source instanceof Blob) {
    // As in the file: the libraries that models come from ignore colour profiles.
    const bitmap = await createImageBitmap(source, { premultiplyAlpha: "none", colorSpaceConversion: "none" }).catch(() => {
      throw new VitrauxError("the image could not be decoded", "image");
    });
    try {
      return drawn(bitmap, bitmap.width, bitmap.height);
    } finally {
      bitmap.close();
    }
  }
  const [width, height] = size(source);
  if (!(width > 0 && height > 0)) throw new VitrauxError(`expected an image, found ${describe(source)}`, "argument");
  return drawn(source, width, height);
}

function size(source) {
  const is = (name) => name in globalThis && source instanceof globalThis[name];
  if (is("HTMLVideoElement")) return [source.videoWidth, source.videoHeight];
  if (is("HTMLImageElement")) return [source.naturalWidth, source.naturalHeight];
  if (is("VideoFrame")) return [source.displayWidth, source.displayHeight];
  if (is("ImageBitmap") || is("OffscreenCanvas") || is("HTMLCanvasElement")) return [source.width, source.height];
  return [];
}

function describe(source) {
  return source?.constructor?.name ?? String(source);
}

function drawn(source, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}
