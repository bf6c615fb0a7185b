// The demonstration page, as a visitor uses it: by mouse, keyboard, file and camera, on a phone and a desktop.

import assert from "node:assert/strict";
import { test } from "node:test";
import { serve } from "../../bindings/web/server.mjs";
import { checkpoint } from "./random.mjs";
import { WEBGPU, chromium } from "./setup.mjs";

const tiny = checkpoint("vit_tiny_patch16_224");
const answers = { "/tiny/config.json": Buffer.from(JSON.stringify(tiny.config)), "/tiny/model.safetensors": tiny.weights };
let sent = 0;

function answer(path, _, response) {
  for (const method of ["write", "end"]) {
    const pass = response[method].bind(response);
    response[method] = (piece, ...rest) => {
      sent += piece?.length ?? 0;
      return pass(piece, ...rest);
    };
  }
  if (!(path in answers)) return false;
  response.writeHead(200, { "content-length": answers[path].length }).end(answers[path]);
  return true;
}

const server = await serve({ "": "bindings/web/site" }, { answer });
test.after(server.close);
const browser = await chromium(...WEBGPU, "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream");
const page = await browser.newPage();
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));

const text = (selector) => page.$eval(selector, (node) => node.innerText);
const passes = () => page.evaluate(() => Number(document.documentElement.dataset.passes ?? 0));

/** Acts, and waits until the page has looked again. */
async function seen(act) {
  const before = await passes();
  await act();
  await page.waitForFunction((before) => Number(document.documentElement.dataset.passes) > before, { timeout: 30_000 }, before);
}

/** Waits for what the page says of its model. */
const says = (text) => page.waitForFunction((text) => document.querySelector("#status").textContent.includes(text), { timeout: 30_000 }, text);

/** Draws a stroke with the mouse, in hundredths of the pad. */
async function stroke(points) {
  const box = await (await page.$("#pad")).boundingBox();
  const at = ([x, y]) => [box.x + (x * box.width) / 100, box.y + (y * box.height) / 100];
  await page.mouse.move(...at(points[0]));
  await page.mouse.down();
  for (const point of points) await page.mouse.move(...at(point), { steps: 4 });
  await page.mouse.up();
}

for (const [width, height, theme] of [[390, 844, "light"], [1280, 900, "dark"]]) {
  test(`a drawn digit is read at a width of ${width}`, { timeout: 60_000 }, async () => {
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
    sent = 0;
    const start = performance.now();
    await page.goto("about:blank");
    await seen(() => page.goto(server.url));
    console.log(`width ${width}: the first digit after ${Math.round(performance.now() - start)} ms and ${sent} bytes`);
    assert.equal(await text("#best"), "3");
    await seen(() => stroke([[35, 20], [68, 20], [45, 82]]));
    await page.waitForFunction(() => document.querySelector("#best").textContent === "7", { timeout: 10_000 });
    assert.match(await text("#times"), /model\s+[\d.]+ ms/);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} pixels too wide`);
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(dark === "rgb(22, 21, 26)", theme === "dark", dark);
  });
}

test("everything is reached by keyboard, and has a name", { timeout: 60_000 }, async () => {
  await page.focus("#tools button");
  for (let i = 0; i < 4; i++) await page.keyboard.press("Tab");
  await seen(() => page.keyboard.press("Enter"));
  await page.waitForFunction(() => document.querySelector("#best").textContent === "4");
  await page.focus("#map");
  await seen(() => page.keyboard.press("ArrowLeft"));
  assert.match(await text("#query"), /row 5, column 4/);
  await seen(() => page.keyboard.press("Escape"));
  assert.match(await text("#query"), /class token/);
  await page.focus("#block");
  await seen(() => page.keyboard.press("ArrowLeft"));
  assert.equal(await text("#block-number"), "3 of 4");
  await page.focus("[name=map]");
  await seen(() => page.keyboard.press("ArrowRight"));
  assert.equal(await page.$eval("#attention", (node) => node.hidden), true);
  await seen(() => page.keyboard.press("ArrowLeft"));
  const all = ({ children = [], ...node }) => [node, ...children.flatMap(all)];
  const nodes = all(await page.accessibility.snapshot()).filter(({ role }) => ["button", "textbox", "combobox", "radio", "slider", "image"].includes(role));
  assert.ok(nodes.length > 25, JSON.stringify(nodes));
  assert.deepEqual(nodes.filter(({ name }) => !name), []);
});

test("a patch and a head are chosen with the mouse", { timeout: 60_000 }, async () => {
  const picture = () => page.$eval("#map", (canvas) => canvas.toDataURL());
  const box = await (await page.$("#map")).boundingBox();
  await seen(() => page.mouse.click(box.x + box.width * 0.95, box.y + box.height * 0.05));
  assert.match(await text("#query"), /row 1, column 8/);
  const before = await picture();
  await page.click("#heads button:nth-child(3)");
  await page.waitForFunction((before) => document.querySelector("#map").toDataURL() !== before, {}, before);
  assert.equal(await page.$eval("#heads button:nth-child(3)", (button) => button.getAttribute("aria-pressed")), "true");
  assert.equal(await page.$$eval("#heads button", (buttons) => buttons.length), 5);
});

test("a photo is chosen", { timeout: 60_000 }, async () => {
  await page.click("[value=photo]");
  await seen(async () => (await page.$("#file")).uploadFile("examples/digits/samples/handwritten-on-paper-7.png"));
  await page.waitForFunction(() => document.querySelector("#best").textContent === "7");
  assert.match(await text("#hint"), /handwritten-on-paper-7.png/);
  await (await page.$("#file")).uploadFile("examples/digits/config.json");
  await says("config.json is no image");
});

test("the camera is looked at, frame by frame", { timeout: 60_000 }, async () => {
  await seen(() => page.click("[value=camera]"));
  for (let i = 0; i < 3; i++) await seen(() => undefined);
  assert.match(await text("#times"), /frames per second\s+[\d.]+/);
  await page.click("[value=pad]");
  assert.equal(await page.$eval("#video", (video) => video.srcObject), null);
});

test("any checkpoint is loaded, by URL, on WebGPU and from files", { timeout: 120_000 }, async () => {
  await page.select("#device", "gpu");
  await page.$eval("#name", (input) => (input.value = "/tiny/"));
  await page.click("#model button");
  await says("vit_tiny_patch16_224 in f32 on");
  assert.match(await text("#status"), /BrowserWebGpu/);
  await page.waitForFunction(() => document.querySelector("#block-number").textContent === "12 of 12", { timeout: 60_000 });
  await page.$eval("#name", (input) => (input.value = "/nowhere/"));
  await page.click("#model button");
  await says("no file config.json");
  await (await page.$("#files")).uploadFile("examples/digits/config.json", "examples/digits/model.safetensors");
  await page.waitForFunction(() => document.querySelector("#block-number").textContent === "4 of 4");
});

test("the page's policy was kept", () => {
  assert.deepEqual(complaints.filter((text) => !text.startsWith("Failed to load resource")), []);
});
