// A browser with a page that has the package, for the tests.

import { createRequire } from "node:module";
import { after } from "node:test";
import { serve } from "../../bindings/web/server.mjs";

const puppeteer = createRequire(`${process.cwd()}/target/tools/`)("puppeteer-core").default;

/** Nothing inline, and no eval: WebAssembly alone. */
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' blob: http://127.0.0.1:59999; img-src 'self' blob: http://localhost:*; media-src 'self' blob:; worker-src 'self'";

export const CASES = "tests/fixtures/cases";

/** What gives Chromium WebGPU over SwiftShader. */
export const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** Starts Chromium. */
export async function chromium(...args) {
  const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", ...args] });
  after(() => browser.close());
  return browser;
}

/** Serves the package, the fixtures and an empty page, which it opens. `answer` answers requests in place of files. */
export async function open({ answer, args = WEBGPU, headers = {} } = {}) {
  /** Number of requests by path. */
  const requests = new Map();
  const counted = (path, request, response) => {
    requests.set(path, (requests.get(path) ?? 0) + 1);
    if (answer?.(path, request, response)) return true;
    if (path !== "/") return false;
    response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>vitraux</title>");
    return true;
  };
  const folders = { dist: "bindings/web/dist", cases: CASES, samples: "examples/digits/samples", digits: "examples/digits" };
  const server = await serve(folders, { headers: { "content-security-policy": POLICY, ...headers }, answer: counted });
  after(server.close);
  const browser = await chromium(...args);
  const page = await browser.newPage();
  /** Console errors, including violations of the policy. Failed loads are ignored, since some tests provoke them. */
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && !message.text().startsWith("Failed to load resource") && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(server.url);
  await page.evaluate(async () => {
    globalThis.Vitraux = (await import("/dist/vitraux.js")).Vitraux;
    globalThis.image = async (url) => (await fetch(url)).blob();
    globalThis.failure = (promise) => promise.then(() => undefined, ({ name, kind, message }) => ({ name, kind, message }));
  });
  return { browser, page, server, requests, complaints };
}
