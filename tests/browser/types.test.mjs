// The package as npm sees it: its types, and what it packs.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("the types allow what the documents show, and no more", { timeout: 120_000 }, () => {
  const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable"];
  const { status, stdout } = spawnSync("node", ["target/tools/node_modules/typescript/bin/tsc", ...options, "tests/browser/types.mts"], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

test("the package packs all that it imports", () => {
  const { stdout } = spawnSync("npm", ["pack", "--dry-run", "--json"], { cwd: "bindings/web/dist", encoding: "utf8" });
  const [{ name, version, files }] = JSON.parse(stdout);
  const packed = new Set(files.map(({ path }) => path));
  const imports = [...packed].filter((path) => path.endsWith(".js")).flatMap((path) => {
    const text = readFileSync(`bindings/web/dist/${path}`, "utf8");
    const found = text.matchAll(/(?:from |import\(|new URL\()["'](\.[^"']+)["']/g);
    return [...found].map(([, target]) => new URL(target, `file:///${path}`).pathname.slice(1));
  });
  assert.ok(imports.length > 10);
  assert.deepEqual(imports.filter((path) => !packed.has(path)), []);
  const manifest = JSON.parse(readFileSync("bindings/web/dist/package.json", "utf8"));
  assert.deepEqual([name, version], ["vitraux", /^version = "(.*)"/m.exec(readFileSync("Cargo.toml", "utf8"))[1]]);
  assert.ok(packed.has("README.md") && packed.has(manifest.types.slice(2)) && packed.has(manifest.exports["."].default.slice(2)));
});
