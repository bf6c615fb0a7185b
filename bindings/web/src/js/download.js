// Downloads that are kept, and that go on where they stopped.

import { VitrauxError } from "./error.js";

/** Bytes per request of a large file: what is lost at most when a download stops. */
const PART = 32 << 20;

/** Headers of a part that is kept: the bytes of the whole file, and its version. */
const TOTAL = "x-vitraux-total";
const VERSION = "x-vitraux-version";

/** The file changed between two of its parts. */
const CHANGED = Symbol("changed");

/** Returns a function that throws the reason why a download ended early. */
export function interrupted(file, signal) {
  return (error) => {
    signal?.throwIfAborted();
    throw new VitrauxError(`${file}: ${error.message}`, "network");
  };
}

/** Returns the file at a URL, or undefined if there is none. `arrived(loaded, total)` is told of each piece; large files come in parts. */
export async function download(url, { isLarge, fetch = globalThis.fetch, cache, signal, arrived }) {
  const isKept = url.protocol.startsWith("http");
  const store = isKept ? (cache ?? (await globalThis.caches?.open("vitraux").catch(() => undefined))) : undefined;
  const source = { url, fetch, signal, store, arrived, inParts: isLarge && !!store };
  let file = await parts(source, false);
  if (file === CHANGED) file = await parts(source, true);
  if (file === CHANGED) throw new VitrauxError(`${url}: the file changes while it is downloaded`, "network");
  return file;
}

/** Returns a file of parts. By `isFresh`, what is kept is replaced. */
async function parts(source, isFresh) {
  const first = await part(source, 0, undefined, isFresh);
  if (!first) return undefined;
  const blobs = [first.blob];
  for (let start = first.blob.size; start < first.total; start += blobs.at(-1).size) {
    const next = await part(source, start, first, isFresh);
    if (next === CHANGED) return CHANGED;
    blobs.push(next.blob);
  }
  return new Blob(blobs);
}

/** Returns the part of a file that begins at a byte, with the bytes and the version of the whole, which are those of the first. */
async function part(source, start, first, isFresh) {
  const { url, store, arrived } = source;
  const key = start ? `${url.href}${url.search ? "&" : "?"}vitraux-from=${start}` : url.href;
  const isSame = ({ total, version }) => !first || (total === first.total && version === first.version);
  const kept = isFresh ? undefined : await store?.match(key);
  if (kept) {
    const blob = await kept.blob();
    const found = { blob, total: Number(kept.headers.get(TOTAL)) || blob.size, version: kept.headers.get(VERSION) };
    if (blob.size && isSame(found)) {
      arrived(start + blob.size, found.total);
      return found;
    }
  }
  const response = await get(source, start, source.inParts);
  if (!response) return first && CHANGED;
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("content-range") ?? "");
  const version = response.headers.get("etag") ?? response.headers.get("last-modified") ?? "";
  const total = Number(range ? range[3] : response.headers.get("content-length")) || 0;
  if (!isSame({ total, version }) || (first && !range)) {
    await response.body?.cancel();
    return CHANGED;
  }
  const arriving = counted(response, start, total, version, arrived);
  const blob = store ? ((await keep(source, key, arriving)) ?? (await passed(source, start, !!range, total))) : await collected(source, arriving);
  if (range && blob.size !== range[2] - range[1] + 1) throw new VitrauxError(`${url}: the download ended early; load it again`, "network");
  return { blob, total: range ? total : blob.size, version };
}

/** Returns the response from a byte on, or undefined if there is no such file. */
async function get({ url, fetch, signal }, start, inParts) {
  // Parts are kept once, not in the browser's own cache too.
  const options = inParts ? { headers: { range: `bytes=${start}-${start + PART - 1}` }, cache: "no-store" } : {};
  const response = await fetch.call(globalThis, url.href, { ...options, signal }).catch(interrupted(url, signal));
  if (response.status === 404) return undefined;
  // A server that hides from other origins which bytes it sends, or that has none.
  const isUnusable = (response.status === 206 && !response.headers.get("content-range")) || response.status === 416;
  if (inParts && isUnusable) {
    await response.body?.cancel();
    return get({ url, fetch, signal }, 0, false);
  }
  if (!response.ok) throw new VitrauxError(`${url}: ${response.status} ${response.statusText}`, "network");
  return response;
}

/** Returns a response as it is kept, which tells of its pieces as they arrive. */
function counted(response, start, total, version, arrived) {
  let loaded = start;
  const transform = (piece, controller) => {
    loaded += piece.length;
    arrived(loaded, total);
    controller.enqueue(piece);
  };
  const headers = { "content-type": response.headers.get("content-type") ?? "application/octet-stream", [TOTAL]: total, [VERSION]: version };
  return new Response(response.body?.pipeThrough(new TransformStream({ transform })), { headers });
}

/** Returns a part from the cache, into which it is written as it arrives: it is never in memory as a whole. Undefined if the cache has no room. */
async function keep({ url, signal, store }, key, response) {
  try {
    await store.put(key, response);
  } catch (error) {
    if (error.name === "QuotaExceededError") return undefined;
    interrupted(url, signal)(error);
  }
  return (await store.match(key))?.blob();
}

/** Returns a part that is not kept. */
async function passed(source, start, inParts, total) {
  const response = await get(source, start, inParts);
  if (!response) throw new VitrauxError(`${source.url}: the file was removed while it was downloaded`, "network");
  return collected(source, counted(response, start, total, "", source.arrived));
}

function collected({ url, signal }, response) {
  return response.blob().catch(interrupted(url, signal));
}
