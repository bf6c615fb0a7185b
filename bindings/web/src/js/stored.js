/** How images are decoded: as in the file. The libraries that models come from ignore colour profiles. */
export const AS_STORED = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
