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

/** The files of a checkpoint, as they lie in the hub. */
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
  /** "auto" takes WebGPU if the browser has it, else the CPU. */
  device?: "auto" | "gpu" | "cpu";
  /** Precision of the weights: "f32", "f16", "bf16", "int8", or "auto" for the fastest that the device is good at. */
  precision?: "f32" | "f16" | "bf16" | "int8" | "auto";
  progress?: (progress: Progress) => void;
  signal?: AbortSignal;
  fetch?: typeof fetch;
  /** Cache of files; by default the browser's, named "vitraux". */
  cache?: Pick<Cache, "match" | "put">;
  /** Server of hub names; by default https://huggingface.co. */
  host?: string;
  /** Branch, tag or commit of hub names; by default main. */
  revision?: string;
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

/** A failure. */
export class VitrauxError extends Error {
  /** "network", "argument", "file", "unsupported", "no_device", "device_lost", "out_of_memory" and so on. */
  readonly kind: string;
}

/** A model on a device. Calls may overlap. */
export class Vitraux {
  private constructor();

  /**
   * Loads a model.
   *
   * @param source - "digits", which is built in; a name of the hub ("facebook/dinov2-small"); the URL of a folder; or the files.
   * @throws VitrauxError
   */
  static load(source: string | URL | Checkpoint, options?: LoadOptions): Promise<Vitraux>;

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
  classify(source: ImageSource, options?: { topK?: number }): Promise<Prediction[]>;

  /** Returns the feature vector of an image: the pooled features, or their projection if the model has one. */
  embed(source: ImageSource, options?: { normalize?: boolean }): Promise<Float32Array>;

  /** Returns the attention probabilities of a token, `[1, heads, 1, N]`. Layers are counted from 0, or from the end if negative. */
  attention(source: ImageSource, options?: { layer?: number; query?: number }): Promise<Tensor>;

  /** Runs the model on `pixel_values` `[B, channels, height, width]`. */
  forward(input: { shape: number[]; data: ArrayLike<number> }, outputs: string[]): Promise<Record<string, Tensor>>;

  /** Frees the memory of the model, also that on the GPU. */
  dispose(): void;
}
