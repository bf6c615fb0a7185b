// Pixels of images, in the worker.

import { VitrauxError } from "./error.js";

/** As in the file: the libraries that models come from ignore colour profiles. */
export const AS_STORED = { premultiplyAlpha: "none", colorSpaceConversion: "none" };

/** Returns a file or levels as a bitmap, and frames as they are. */
export async function decoded(frame) {
  if (!(frame instanceof Blob || frame instanceof ImageData)) return frame;
  return createImageBitmap(frame, AS_STORED).catch(() => {
    throw new VitrauxError("the image could not be decoded", "image");
  });
}

/** Returns the width and height in pixels. */
export function size(image) {
  return "VideoFrame" in globalThis && image instanceof VideoFrame ? [image.displayWidth, image.displayHeight] : [image.width, image.height];
}

/** Returns the RGBA levels, without premultiplied opacity. */
export function levels(image) {
  if (image instanceof ImageData) return image.data;
  const [width, height] = size(image);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}
