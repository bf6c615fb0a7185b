// Serves a folder on loopback, as a page with the package needs it: types, ranges, compression, and isolation from other origins, for threads.
//
//     node server.mjs FOLDER [PORT]

import { createReadStream, existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { pipeline } from "node:stream";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** Headers of pages that are isolated from other origins. */
export const ISOLATION = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

/** Returns the first and the last byte that a request asks for; undefined if it asks for all, or for none that are there. */
function range(header, size) {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(header ?? "") ?? [];
  const [start, end] = [Number(first), last ? Math.min(size - 1, Number(last)) : size - 1];
  return start <= end ? [start, end] : undefined;
}

/** Compressed files by their path and version. */
const compressed = new Map();

function gzip(file, version) {
  const key = `${file} ${version}`;
  if (!compressed.has(key)) compressed.set(key, gzipSync(readFileSync(file)));
  return compressed.get(key);
}

/**
 * Serves folders by the first part of the path; "" is the folder of all others. `answer(path, request, response)` may answer in place of them, by returning true.
 * Returns the URL, and a function that ends it.
 */
export async function serve(folders, { port = 0, headers = {}, answer } = {}) {
  const server = createServer((request, response) => {
    try {
      respond(request, response);
    } catch {
      // An address or a range that means nothing.
      response.writeHead(400).end();
    }
  });
  const respond = (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://host").pathname));
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (answer?.(path, request, response)) return;
    if (!["GET", "HEAD"].includes(request.method)) return response.writeHead(405, { allow: "GET, HEAD" }).end();
    const [, first, ...rest] = path.split("/");
    const file = Object.hasOwn(folders, first) ? join(folders[first], ...rest) : folders[""] && join(folders[""], path);
    const found = file && (path.endsWith("/") ? join(file, "index.html") : file);
    const stat = found && statSync(found, { throwIfNoEntry: false });
    if (!stat?.isFile()) return response.writeHead(404).end();
    const [start, end] = range(request.headers.range, stat.size) ?? [];
    const type = TYPES[extname(found)];
    const version = `${stat.mtimeMs}-${stat.size}`;
    response.setHeader("content-type", type ?? "application/octet-stream");
    response.setHeader("etag", `"${version}"`);
    if (type && start === undefined && /\bgzip\b/.test(request.headers["accept-encoding"] ?? "")) {
      const body = gzip(found, version);
      response.writeHead(200, { "content-encoding": "gzip", "content-length": body.length });
      return response.end(request.method === "HEAD" ? undefined : body);
    }
    response.setHeader("accept-ranges", "bytes");
    response.setHeader("content-length", start === undefined ? stat.size : end - start + 1);
    if (start !== undefined) response.setHeader("content-range", `bytes ${start}-${end}/${stat.size}`);
    response.writeHead(start === undefined ? 200 : 206);
    if (request.method === "HEAD") return response.end();
    pipeline(createReadStream(found, { start, end }), response, () => undefined);
  };
  await new Promise((ready, failed) => server.once("error", failed).listen(port, "127.0.0.1", ready));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

/** Returns whether this file is the program, also by a link. */
function isProgram() {
  const [, program] = process.argv;
  return existsSync(program ?? "") && realpathSync(program) === fileURLToPath(import.meta.url);
}

if (isProgram()) {
  const [folder, port = "8080"] = process.argv.slice(2);
  if (!folder || !/^\d+$/.test(port) || Number(port) > 65535) {
    console.error("usage: node server.mjs FOLDER [PORT]");
    process.exit(2);
  }
  const { url } = await serve({ "": folder }, { port: Number(port), headers: ISOLATION });
  console.log(`Serving ${folder} at ${url}`);
}
