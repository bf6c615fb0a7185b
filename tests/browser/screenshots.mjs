// Makes the screenshots of the page for the documents, with the weights that tests/trained brings:
//
//     tests/trained && bindings/web/build && node tests/browser/screenshots.mjs

import { createRequire } from "node:module";
import { serve } from "../../bindings/web/server.mjs";

const puppeteer = createRequire(`${process.cwd()}/target/tools/`)("puppeteer-core").default;
const server = await serve({ "": "bindings/web/site", dinov2: "target/trained/timm" });
const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
const passes = () => page.evaluate(() => Number(document.documentElement.dataset.passes ?? 0));

async function shoot(file, [width, height, deviceScaleFactor], theme, address, photo) {
  await page.setViewport({ width, height, deviceScaleFactor });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
  await page.goto("about:blank");
  await page.goto(server.url + address);
  if (photo) {
    await page.click("[value=photo]");
    await (await page.$("#file")).uploadFile(photo);
  }
  await page.waitForFunction(() => Number(document.documentElement.dataset.passes) > 0, { timeout: 120_000 });
  for (let before; before !== (await passes()); ) {
    before = await passes();
    await new Promise((later) => setTimeout(later, 1000));
  }
  await page.screenshot({ path: file, fullPage: !!photo });
}

await shoot("docs/web.png", [1280, 900, 1], "light", "?name=/dinov2/", "cli/photos/chelsea.jpg");
await shoot("docs/web-phone.png", [390, 844, 2], "dark", "");
await browser.close();
server.close();
