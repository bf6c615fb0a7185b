/** An image that is decoded already, or a file. */
export type ImageSource =
  | ImageData
  | Blob
  | ImageBitmap
  | HTMLImageElement
  | HTMLVideoElement
  | HTMLCanvasElement
  | OffscreenCanvas
  | VideoFrame;

/** Where a file is, or what is in it. */
export type FileSource = string | URL | Blob | ReadableStream<Uint8Array> | ArrayBuffer | ArrayBufferView;

/** The files of a checkpoint, unmodified, as published on the Hub. */
export interface Checkpoint {
  /** config.json, or its contents. */
  config: FileSource | Record<string, unknown>;
  /** model.safetensors. */
  weights: FileSource;
  /** preprocessor_config.json of transformers, or its contents. */
  preprocessor?: FileSource | Record<string, unknown>;
}

export interface Progress {
  file: string;
  /** Bytes that have arrived. */
  loaded: number;
  /** All bytes, or 0 if the server does not say. */
  total: number;
}

export interface LoadOptions {
  /** "auto" uses WebGPU where there is a hardware GPU, else the CPU. */
  device?: "auto" | "gpu" | "cpu";
  /** Precision of the weights: "f32", "f16", "bf16", "int8", or "auto" for the fastest that the device is good at. */
  precision?: "f32" | "f16" | "bf16" | "int8" | "auto";
  progress?: (progress: Progress) => void;
  signal?: AbortSignal;
  fetch?: typeof fetch;
  /** Cache of files; by default the browser's, named "vitraux". */
  cache?: Pick<Cache, "match" | "put">;
  /** Server of names; by default https://huggingface.co. */
  host?: string;
  /** Branch, tag or commit of names; by default main. */
  revision?: string;
}

export interface CallOptions {
  /** Rejects the call when it is aborted. A pass already running finishes, and its result is discarded. */
  signal?: AbortSignal;
}

export interface Prediction {
  index: number;
  label: string;
  /** Softmax of the logits. */
  score: number;
}

export interface Tensor {
  shape: number[];
  /** Elements in row-major order. */
  data: Float32Array;
}

/** An output with a value or a colour for each patch of an image. */
export class PatchMap implements Tensor {
  private constructor();

  readonly shape: number[];
  readonly data: Float32Array;
  /** Rows and columns of patches. */
  readonly grid: [number, number];
  /** Number of tokens before the patches. */
  readonly prefix: number;

  /** Returns the token of the patch at a pixel of the image, or undefined where the model sees nothing. */
  tokenAt(x: number, y: number): number | undefined;

  /** Returns the pixels of the image that a token is made of. */
  patch(token: number): { left: number; top: number; width: number; height: number };

  /**
   * Draws it into a 2d canvas that shows the whole image, over what is there: weights in the colours of matplotlib's inferno, from the least to the largest.
   * Without `head`, attention is the mean of all heads. The model must not be disposed of yet.
   */
  paint(canvas: HTMLCanvasElement | OffscreenCanvas, options?: { head?: number; opacity?: number }): Promise<void>;
}

/** A failure. */
export class VitrauxError extends Error {
  constructor(message: string, kind: string, options?: { cause?: unknown });

  /** "network", "argument", "file", "image", "unsupported", "no_device", "device_lost", "out_of_memory", "worker" and so on. */
  readonly kind: string;
}

/** A model on a device, in a worker. Calls may overlap. */
export class Vitraux {
  private constructor();

  /**
   * Loads a model.
   *
   * @param source - "digits", which is built in; a name on the Hub ("facebook/dinov2-small"); the URL of a folder; or files, by name or by role.
   * @throws VitrauxError
   */
  static load(source: string | URL | Checkpoint | Iterable<File>, options?: LoadOptions): Promise<Vitraux>;

  readonly name: string;
  readonly device: string;
  readonly precision: string;
  /** Names of the classes; empty if the model has none. */
  readonly labels: string[];
  /** Number of classes; 0 if the model has none. */
  readonly classes: number;
  /** Number of blocks. */
  readonly depth: number;
  /** Number of attention heads. */
  readonly heads: number;
  /** Names of all outputs, for `forward`. */
  readonly outputs: string[];

  /** Returns the most probable classes of an image. */
  classify(source: ImageSource, options?: { topK?: number } & CallOptions): Promise<Prediction[]>;

  /** Returns the feature vector of an image: the pooled features, or their projection if the model has one. */
  embed(source: ImageSource, options?: { normalize?: boolean } & CallOptions): Promise<Float32Array>;

  /** Returns the attention probabilities of a token, `[1, heads, 1, N]`. Layers are counted from 0, or from the end if negative. */
  attention(source: ImageSource, options?: { layer?: number; query?: number } & CallOptions): Promise<PatchMap>;

  /** Returns the first three principal components of the image's patches as colours from 0 to 1, `[1, P, 3]`. */
  pca(source: ImageSource, options?: CallOptions): Promise<PatchMap>;

  /** Computes outputs by name, in one pass. Those that are maps of an image (`attn.…`, `rollout`, `pca`) are `PatchMap`s. */
  forward(image: ImageSource, outputs: readonly string[], options?: CallOptions): Promise<Record<string, Tensor | PatchMap>>;

  /** Runs the model on `pixel_values` `[B, channels, height, width]`. */
  forward(
    input: { shape: readonly number[]; data: ArrayLike<number> },
    outputs: readonly string[],
    options?: CallOptions,
  ): Promise<Record<string, Tensor>>;

  /** Frees the memory of the model, including GPU memory. WebAssembly keeps its memory for the next model. */
  dispose(): void;
}
