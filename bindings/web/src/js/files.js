// The files of a checkpoint: where they are, and how they arrive.

import { counting, download, interrupted } from "./download.js";
import { VitrauxError } from "./error.js";

const CONFIG = "config.json";
/** Weights, the preferred first: a file, or else the index of its shards. */
const WEIGHTS = ["model.safetensors", "pytorch_model.bin"].map((file) => ({ file, index: `${file}.index.json` }));
const PROCESSORS = ["preprocessor_config.json", "processor_config.json"];

/** Returns the name of a checkpoint and its files: a map from their names to blobs, which the browser keeps on disk if they are large. */
export async function fetched(source, options) {
  const { signal, progress } = stoppable(options);
  const { name, open } = folder(source, { ...options, signal });
  const files = new Map();
  const read = async (file) => {
    const blob = await open(file, ({ loaded, total }) => progress({ file, loaded, total }));
    signal.throwIfAborted();
    if (blob) files.set(file, blob);
    return blob;
  };
  const needed = async (file) => {
    if (!(await read(file))) throw new VitrauxError(`${name}: no file ${file}`, "file");
  };
  await needed(CONFIG);
  for (const file of PROCESSORS) await read(file);
  if (!(await hasWeights(read, needed, name))) {
    throw new VitrauxError(`${name}: none of ${WEIGHTS.flatMap(({ file, index }) => [file, index]).join(", ")}`, "file");
  }
  return { name, files };
}

/** Returns a signal and a function that reports progress: what the page's own function throws stops all downloads, and is their reason. */
function stoppable({ signal, progress }) {
  const own = new AbortController();
  const reported = (step) => {
    try {
      progress?.(step);
    } catch (error) {
      own.abort(error);
      throw error;
    }
  };
  return { signal: signal ? AbortSignal.any([signal, own.signal]) : own.signal, progress: reported };
}

/** Reads the weights, in one file or in shards. Returns whether there are any. */
async function hasWeights(read, needed, name) {
  for (const { file, index } of WEIGHTS) {
    if (await read(file)) return true;
    const found = await read(index);
    if (!found) continue;
    for (const shard of shards(await found.text(), `${name}: ${index}`)) await needed(shard);
    return true;
  }
  return false;
}

/** Returns the names of the shards in an index: of files in the same folder. */
function shards(text, what) {
  const fail = (message, cause) => {
    throw new VitrauxError(`${what}: ${message}`, "file", { cause });
  };
  let names;
  try {
    names = new Set(Object.values(JSON.parse(text).weight_map));
  } catch (cause) {
    fail(cause.message, cause);
  }
  for (const shard of names) if (!/^[\w.-]+$/.test(shard)) fail(`expected the name of a file in the same folder, found ${JSON.stringify(shard)}`);
  return names;
}

/** Returns a folder: its name, and a function that opens a file as a blob, or undefined if there is none. */
function folder(source, options) {
  if (typeof source === "string" || source instanceof URL) return remote(source, options);
  if (source?.config && source.weights) return given(source, options);
  if (source?.[Symbol.iterator]) return among([...source]);
  throw new VitrauxError('expected "digits", a name of the hub, a URL, files, or {config, weights}', "argument");
}

function remote(source, options) {
  const { host = "https://huggingface.co", revision = "main" } = options;
  const isName = typeof source === "string" && /^[\w.-]+\/[\w.-]+$/.test(source) && !source.startsWith(".");
  const base = address(isName ? `${host.replace(/\/$/, "")}/${source}/resolve/${encodeURIComponent(revision)}/` : source);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return { name: String(source), open: (file, progress) => at(new URL(file, base), file, options, progress) };
}

function address(text) {
  try {
    return new URL(text, globalThis.location?.href);
  } catch (cause) {
    throw new VitrauxError(`${text} is neither a name of the hub nor a URL`, "argument", { cause });
  }
}

/** Returns the file at a URL that stands for one of a checkpoint's. */
function at(url, file, { fetch, cache, signal }, progress) {
  const isLarge = /\.(safetensors|bin)$/.test(file);
  return download(url, { isLarge, isOptional: file !== CONFIG, fetch, cache, signal, arrived: (loaded, total) => progress({ loaded, total }) });
}

/** Files that are found by their names, those of an outer folder first. */
function among(files) {
  if (!files.every((file) => typeof file?.name === "string")) {
    throw new VitrauxError("expected files with names; give others by their roles, as {config, weights}", "argument");
  }
  // Outside browsers, files have no paths.
  const path = (file) => (file?.webkitRelativePath ?? "").split("/");
  const depth = (file) => path(file).length;
  const sorted = files.toSorted((a, b) => depth(a) - depth(b));
  const find = (file) => sorted.find(({ name }) => name === file);
  return { name: path(find(CONFIG)).at(-2) || "model", open: async (file) => find(file) };
}

function given({ config, weights, preprocessor }, options) {
  const files = new Map([[CONFIG, config], [WEIGHTS[0].file, weights], [PROCESSORS[0], preprocessor]]);
  const open = async (file, progress) => {
    const source = files.get(file);
    if (source === undefined || source === null) return undefined;
    if (typeof source === "string" || source instanceof URL) return at(address(source), file, options, progress);
    if (source instanceof Blob) return source;
    if (source instanceof ReadableStream) return collected(file, source, options, progress);
    if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return new Blob([source]);
    return new Blob([JSON.stringify(source)]);
  };
  return { name: "model", open };
}

/** Returns a stream as a blob. */
function collected(file, stream, { signal }, progress) {
  const counted = counting(stream, (loaded) => progress({ loaded, total: 0 })).pipeThrough(new TransformStream(), { signal });
  return new Response(counted).blob().catch(interrupted(file, signal));
}
