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
  return (cause) => {
    signal?.throwIfAborted();
    throw new VitrauxError(`${file}: ${cause.message}`, "network", { cause });
  };
}

/** Returns a stream that calls `arrived` with the number of bytes so far. */
export function counting(stream, arrived) {
  let count = 0;
  const transform = (piece, controller) => {
    count += piece.byteLength;
    arrived(count);
    controller.enqueue(piece);
  };
  return stream.pipeThrough(new TransformStream({ transform }));
}

/**
 * Returns the file at a URL, or undefined if there is none. `arrived(loaded, total)` is told of each piece; the total is 0 if it is unknown. Large files
 * come in parts.
 */
export async function download(url, { isLarge, isOptional, fetch = globalThis.fetch, cache, signal, arrived }) {
  const store = url.protocol.startsWith("http") ? (cache ?? (await browserCache())) : undefined;
  const source = { url, fetch, signal, store, arrived, isOptional, inParts: isLarge && !!store };
  let file = await joined(source, false);
  if (file === CHANGED) file = await joined(source, true);
  if (file === CHANGED) throw new VitrauxError(`${url}: the file changes while it is downloaded`, "network");
  return file;
}

/** Returns the browser's cache; undefined in pages that have none, such as those that came without encryption. */
async function browserCache() {
  try {
    return await globalThis.caches?.open("vitraux");
  } catch {
    return undefined;
  }
}

/** Returns a file of parts. By `isFresh`, what is kept is replaced. */
async function joined(source, isFresh) {
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
  const kept = isFresh ? undefined : await store?.match(key);
  if (kept) {
    const blob = await kept.blob();
    const total = Number(kept.headers.get(TOTAL)) || blob.size;
    const found = { blob, total, version: kept.headers.get(VERSION) ?? "" };
    // Of whatever length it is, the next begins where it ends.
    if (blob.size && start + blob.size <= total && isSame(found, first)) {
      arrived(start + blob.size, total);
      return found;
    }
  }
  const response = await get(source, start, source.inParts);
  if (!response) return first && CHANGED;
  const found = described(response);
  if (!isSame(found, first) || (first && found.range?.[0] !== start)) {
    await response.body?.cancel();
    return CHANGED;
  }
  const arriving = asKept(response, start, found, arrived);
  const blob = store ? ((await keep(source, key, arriving)) ?? (await unkept(source, start, found))) : await collected(source, arriving);
  if (found.range && blob.size !== found.range[1] - found.range[0] + 1) {
    throw new VitrauxError(`${url}: the download ended early; load it again`, "network");
  }
  return { ...found, blob, total: found.range ? found.total : blob.size };
}

/** Returns whether two parts are of one version of a file. */
function isSame({ total, version }, first) {
  return !first || (total === first.total && version === first.version);
}

/** Returns what a response says of its file: the first and the last byte if it is a range, all bytes, or 0 if that is unknown, and the version. */
function described({ headers }) {
  const [, ...range] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? []).map(Number);
  // Compressed, the length is another.
  const length = headers.has("content-encoding") ? 0 : Number(headers.get("content-length")) || 0;
  const version = headers.get("etag") ?? headers.get("last-modified") ?? "";
  return { range: range.length ? range.slice(0, 2) : undefined, total: range[2] ?? length, version };
}

/** Returns the response from a byte on, or undefined if there is no such file. */
async function get(source, start, inParts) {
  const { url, fetch, signal, isOptional } = source;
  // Parts are kept once, not in the browser's own cache too.
  const options = inParts ? { headers: { range: `bytes=${start}-${start + PART - 1}` }, cache: "no-store" } : {};
  const response = await fetch.call(globalThis, url.href, { ...options, signal }).catch(interrupted(url, signal));
  const { range, total, version } = described(response);
  // Parts can be joined only if the server tells, also other origins, which bytes it sends of which version.
  const isPart = range?.[0] === start && start <= range[1] && range[1] < total && version;
  const isUnusable = response.status === 416 || (response.status === 206 && !isPart);
  // Stores answer 403 for a file that is not there, and servers of single pages send those instead. Gateways send pages with their errors.
  const isPage = response.ok && response.headers.get("content-type")?.startsWith("text/html");
  const isAbsent = [404, 410].includes(response.status) || (isOptional && response.status === 403) || isPage;
  if (response.ok && !isUnusable && !isAbsent) return response;
  await response.body?.cancel();
  if (isAbsent) return undefined;
  if (inParts && isUnusable) return get(source, 0, false);
  throw new VitrauxError(`${url}: ${response.status} ${response.statusText}`, "network");
}

/** Returns a response as it is kept, which tells of its pieces as they arrive. */
function asKept(response, start, { range, total, version }, arrived) {
  const headers = { "content-type": "application/octet-stream", [VERSION]: version, ...(range && { [TOTAL]: total }) };
  return new Response(response.body && counting(response.body, (count) => arrived(start + count, total)), { headers });
}

/** Returns a part from the cache, into which it is written as it arrives: it is never in memory as a whole. Undefined if the cache does not take it. */
async function keep({ signal, store }, key, response) {
  try {
    await store.put(key, response);
  } catch {
    // It has no room, or the connection broke: then the next attempt tells.
    signal?.throwIfAborted();
    return undefined;
  }
  return (await store.match(key))?.blob();
}

/** Downloads a part that the cache does not take. */
async function unkept(source, start, found) {
  const response = await get(source, start, !!found.range);
  if (!response || !isSame(described(response), found)) throw new VitrauxError(`${source.url}: the file changes while it is downloaded`, "network");
  return collected(source, asKept(response, start, found, source.arrived));
}

function collected({ url, signal }, response) {
  return response.blob().catch(interrupted(url, signal));
}
