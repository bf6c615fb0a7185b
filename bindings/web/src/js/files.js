// The files of a checkpoint: where they are, and how they arrive.

import { VitrauxError } from "./error.js";

const CONFIG = "config.json";
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const PROCESSORS = ["preprocessor_config.json", "processor_config.json"];

/** Returns a folder: its name, and a function that opens a file as a response, or undefined if there is none. */
export function folder(source, options) {
  if (typeof source === "string" || source instanceof URL) return remote(source, options);
  if (source?.config && source.weights) return given(source, options);
  throw new VitrauxError('expected "digits", a name of the hub, a URL, or {config, weights}', "argument");
}

function remote(source, options) {
  const { host = "https://huggingface.co", revision = "main" } = options;
  const isName = typeof source === "string" && /^[\w.-]+\/[\w.-]+$/.test(source) && !source.startsWith(".");
  const base = new URL(isName ? `${host}/${source}/resolve/${revision}/` : source, globalThis.location?.href);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return { name: String(source), open: (file) => download(new URL(file, base), options) };
}

/** Returns the response of a URL, from the cache if it is there, where it stays. */
async function download(url, { fetch = globalThis.fetch, cache, signal }) {
  cache = cache ?? (globalThis.caches ? await globalThis.caches.open("vitraux").catch(() => undefined) : undefined);
  const kept = cache && (await cache.match(url.href));
  if (kept) return kept;
  const get = () => fetch.call(globalThis, url.href, { signal }).catch(interrupted(url, signal));
  const response = await get();
  if (response.status === 404) return undefined;
  if (!response.ok) throw new VitrauxError(`${url}: ${response.status} ${response.statusText}`, "network");
  if (!cache) return response;
  // It is written as it arrives, and read from there, so that it is in memory once.
  const { headers } = response;
  try {
    await cache.put(url.href, new Response(response.body, { headers }));
  } catch (error) {
    // The browser has no room for it.
    if (error.name === "QuotaExceededError") return get();
    interrupted(url, signal)(error);
  }
  return (await cache.match(url.href)) ?? get();
}

/** Returns a function that throws the reason why a download ended early. */
function interrupted(file, signal) {
  return (error) => {
    signal?.throwIfAborted();
    throw new VitrauxError(`${file}: ${error.message}`, "network");
  };
}

function given({ config, weights, preprocessor }, options) {
  const files = new Map([[CONFIG, config], [WEIGHTS, weights], [PROCESSORS[0], preprocessor]]);
  const open = async (file) => {
    const source = files.get(file);
    if (source === undefined) return undefined;
    if (typeof source === "string" || source instanceof URL) return download(new URL(source, globalThis.location?.href), options);
    if (source instanceof Blob || source instanceof ReadableStream || source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return new Response(source);
    return new Response(JSON.stringify(source));
  };
  return { name: config instanceof File ? config.name : "model", open };
}

/** Reads the files of a checkpoint into the memory of WebAssembly, piece by piece. */
export async function fetched({ name, open }, files, { signal, progress }) {
  const read = async (file, isNeeded) => {
    const response = await open(file);
    if (!response?.body) {
      if (isNeeded) throw new VitrauxError(`${name}: no file ${file}`, "file");
      return false;
    }
    const total = Number(response.headers.get("content-length")) || 0;
    files.begin(file, total);
    let loaded = 0;
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read().catch(interrupted(file, signal));
      if (signal?.aborted) await reader.cancel();
      signal?.throwIfAborted();
      if (done) break;
      files.push(file, value);
      loaded += value.length;
      progress?.({ file, loaded, total });
    }
    return true;
  };
  await read(CONFIG, true);
  for (const file of PROCESSORS) await read(file, false);
  if (!(await read(WEIGHTS, false))) {
    const index = await open(INDEX);
    if (!index) throw new VitrauxError(`${name}: neither ${WEIGHTS} nor ${INDEX}`, "file");
    const text = await index.text();
    files.begin(INDEX, text.length);
    files.push(INDEX, new TextEncoder().encode(text));
    const shards = new Set(Object.values(JSON.parse(text).weight_map ?? {}));
    for (const shard of shards) await read(shard, true);
  }
  return { name, files };
}
