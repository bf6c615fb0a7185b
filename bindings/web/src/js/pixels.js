// Pixels of images, in the worker.

import { AS_STORED } from "./stored.js";
import { VitrauxError } from "./error.js";

/** Returns whether an image is levels of 8 bits, which need no decoding. */
export function hasLevels(image) {
  return image instanceof ImageData && image.data instanceof Uint8ClampedArray;
}

/** Returns a file or pixels as a bitmap, and other images as they are. */
export async function decoded(image) {
  if (!(image instanceof Blob || image instanceof ImageData)) return image;
  return createImageBitmap(image, AS_STORED).catch((cause) => {
    throw new VitrauxError("the image could not be decoded", "image", { cause });
  });
}

/** Returns the width and height in pixels. */
export function size(image) {
  return "VideoFrame" in globalThis && image instanceof VideoFrame ? [image.displayWidth, image.displayHeight] : [image.width, image.height];
}

/** Returns the RGBA levels. Colours keep all bits behind opacity where there is WebGL; a 2d canvas multiplies them with it. */
export function pixels(image) {
  if (hasLevels(image)) return image.data;
  const [width, height] = size(image);
  // Frames of videos are opaque.
  const levels = image instanceof ImageBitmap ? unmultiplied(image) : undefined;
  if (levels) return levels;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new VitrauxError(`${width} x ${height} pixels are more than this browser draws; scale the image down`, "image");
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

let gl;

/** Returns the levels of a bitmap, read from a texture; undefined if there is no WebGL, or the bitmap is too large for it. */
function unmultiplied(bitmap) {
  gl ??= new OffscreenCanvas(1, 1).getContext("webgl2");
  const { width, height } = bitmap;
  if (!gl || gl.isContextLost() || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return undefined;
  const [texture, framebuffer] = [gl.createTexture(), gl.createFramebuffer()];
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const levels = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, levels);
  const isRead = gl.getError() === gl.NO_ERROR;
  gl.deleteFramebuffer(framebuffer);
  gl.deleteTexture(texture);
  return isRead ? levels : undefined;
}
