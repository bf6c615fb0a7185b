// The server of the page, as a program.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { serve } from "../../bindings/web/server.mjs";

const PROGRAM = "bindings/web/server.mjs";

test("the server says how it is run", () => {
  for (const words of [[], ["bindings", "port"], ["bindings", "65536"], ["bindings", "-1"]]) {
    const { status, stdout, stderr } = spawnSync("node", [PROGRAM, ...words], { encoding: "utf8", timeout: 10_000 });
    assert.deepEqual([status, stdout, stderr], [2, "", "usage: node server.mjs FOLDER [PORT]\n"], words.join(" "));
  }
});

test("the server runs by a link", { timeout: 30_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "vitraux-"));
  const link = join(folder, "link");
  symlinkSync(resolve("bindings/web"), link);
  const program = spawn("node", [join(link, "server.mjs"), "examples/digits", "0"]);
  try {
    const [line] = await program.stdout.setEncoding("utf8").take(1).toArray();
    const [, url] = /^Serving examples\/digits at (\S+)\n$/.exec(line);
    assert.equal((await fetch(`${url}config.json`)).status, 200);
  } finally {
    program.kill();
    rmSync(folder, { recursive: true });
  }
});

test("the server only reads", async () => {
  const { url, close } = await serve({ "": "examples/digits" });
  const ask = async (method) => {
    const response = await fetch(`${url}config.json`, { method });
    return [response.status, response.headers.get("allow"), (await response.text()).length > 0];
  };
  assert.deepEqual(await ask("GET"), [200, null, true]);
  assert.deepEqual(await ask("HEAD"), [200, null, false]);
  for (const method of ["POST", "PUT", "DELETE"]) assert.deepEqual(await ask(method), [405, "GET, HEAD", false]);
  close();
});
