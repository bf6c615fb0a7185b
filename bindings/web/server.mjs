// Serves folders on loopback, with what the package needs: types, ranges, and isolation for threads.
//
//     node server.mjs FOLDER [PORT]

import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
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

/** Returns the first and the last byte that a request asks for. */
function range(header, size) {
  const asked = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  return asked && Number(asked[1]) < size ? [Number(asked[1]), Math.min(size - 1, asked[2] === "" ? Infinity : Number(asked[2]))] : undefined;
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
    const path = normalize(decodeURIComponent(new URL(request.url, "http://host").pathname));
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (answer?.(path, request, response)) return;
    const [, first, ...rest] = path.split("/");
    const file = first in folders ? join(folders[first], ...rest) : folders[""] && join(folders[""], path);
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
    createReadStream(found, { start, end }).pipe(response);
  });
  await new Promise((ready, failed) => server.once("error", failed).listen(port, "127.0.0.1", ready));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, port = "8080"] = process.argv.slice(2);
  const { url } = await serve({ "": folder }, { port: Number(port) });
  console.log(`Serving ${folder} at ${url}`);
}
