// A server of files on loopback, which counts what is asked for.

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = { ".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html", ".json": "application/json" };

// Nothing inline, and no eval: WebAssembly alone.
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' http://127.0.0.1:59999; img-src 'self' blob:; worker-src 'self'";

/** Serves folders by the first part of the path. Returns the URL, the counts by path, and a function that ends it. */
export async function serve(folders) {
  const requests = new Map();
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://host").pathname));
    requests.set(path, (requests.get(path) ?? 0) + 1);
    const headers = { "content-security-policy": POLICY };
    if (path === "/") return response.writeHead(200, { ...headers, "content-type": "text/html" }).end("<!doctype html><title>vitraux</title>");
    // A file that never ends.
    if (path.startsWith("/endless/")) {
      response.writeHead(200, { ...headers, "content-length": 1e9 });
      return response.write(Buffer.alloc(1 << 20));
    }
    const [, first, ...rest] = path.split("/");
    const file = folders[first] && join(folders[first], ...rest);
    const size = file && statSync(file, { throwIfNoEntry: false });
    if (!size?.isFile()) return response.writeHead(404, headers).end();
    response.writeHead(200, { ...headers, "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-length": size.size });
    createReadStream(file).pipe(response);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, requests, close };
}
