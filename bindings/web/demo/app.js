// The page: an image goes in, the answer and the maps come out.

import { Vitraux } from "./vitraux/vitraux.js";
import { showAnswer, showNothing, showTimes } from "./answer.js";
import { Camera } from "./camera.js";
import { Maps } from "./maps.js";
import { Pad } from "./pad.js";
import { Photo } from "./photo.js";

const node = (id) => document.getElementById(id);
const sources = document.querySelectorAll("[name=source]");
const source = () => [...sources].find(({ checked }) => checked).value;

let model;
let loading;
/** Whether a pass runs, and whether another is wanted after it. */
let isBusy = false;
let isStale = false;
/** When the last passes ended, in ms. */
let ended = [];

function say(text, isFailure = false) {
  node("status").textContent = text;
  node("status").classList.toggle("failure", isFailure);
}

const pad = new Pad(node("pad"), node("tools"), look);
const photo = new Photo(node("drop"), node("photo"), node("file"), (failure) => {
  if (failure) return say(failure.message, true);
  document.querySelector("[value=photo]").checked = true;
  switchSource();
});
const camera = new Camera(node("video"), look);
const maps = new Maps(
  { canvas: node("map"), block: node("block"), number: node("block-number"), heads: node("heads"), query: node("query"), attention: node("attention"), choices: document.querySelectorAll("[name=map]") },
  look,
);

/** Returns the image to look at; undefined if there is none. */
async function image() {
  if (source() === "camera") return camera.frame();
  if (source() === "photo") return photo.image;
  return pad.isEmpty ? undefined : pad.image();
}

/** Runs the model on the image, and again if the image, the model or the wanted map changed meanwhile. */
async function look() {
  isStale = true;
  if (isBusy) return;
  isBusy = true;
  while (isStale && model) {
    isStale = false;
    try {
      await pass(model);
    } catch (error) {
      // A model or a photo that was replaced meanwhile is of no interest.
      if (!isStale) say(error.message, true);
    }
  }
  isBusy = false;
}

async function pass(model) {
  const start = performance.now();
  const isFrame = source() === "camera";
  const taken = await image();
  if (!taken) return clear();
  try {
    const output = maps.output;
    const captured = performance.now();
    const outputs = await model.forward(taken, model.classes ? ["probabilities", output] : [output]);
    const computed = performance.now();
    showAnswer(node("best"), node("answer"), model.labels, outputs.probabilities?.data);
    await maps.show(taken, outputs[output]);
    const painted = performance.now();
    ended = [...ended.filter((moment) => painted - moment < 2000), painted];
    const milliseconds = (from, to) => `${(to - from).toFixed(1)} ms`;
    const frames = isFrame && ended.length > 1 ? { "frames per second": ((1000 * (ended.length - 1)) / (painted - ended[0])).toFixed(1) } : {};
    showTimes(node("times"), { image: milliseconds(start, captured), model: milliseconds(captured, computed), maps: milliseconds(computed, painted), ...frames });
    document.documentElement.dataset.passes = Number(document.documentElement.dataset.passes ?? 0) + 1;
  } finally {
    if (isFrame) taken.close();
  }
}

/** Shows that there is no image. */
function clear() {
  showTimes(node("times"), {});
  showNothing(node("best"), node("answer"));
  maps.clear();
}

/** Loads a model in place of the current one. */
async function load(checkpoint, name) {
  loading?.abort();
  const attempt = new AbortController();
  loading = attempt;
  say(`Loading ${name}`);
  node("progress").hidden = name === "digits";
  node("progress").removeAttribute("value");
  const progress = ({ file, loaded, total }) => {
    if (attempt.signal.aborted) return;
    if (total) node("progress").value = loaded / total;
    node("bytes").textContent = `${file}: ${(loaded / 1e6).toFixed(1)}${total ? ` of ${(total / 1e6).toFixed(1)}` : ""} MB`;
  };
  try {
    const start = performance.now();
    const loaded = await Vitraux.load(checkpoint, { device: node("device").value, precision: node("precision").value, progress, signal: attempt.signal });
    model?.dispose();
    model = loaded;
    maps.model = model;
    say(`${model.name} in ${model.precision} on ${model.device}, loaded in ${((performance.now() - start) / 1000).toFixed(2)} s`);
    look();
  } catch (error) {
    if (!attempt.signal.aborted) say(error.message, true);
  } finally {
    if (loading === attempt) node("progress").hidden = true;
    if (loading === attempt) node("bytes").textContent = "";
  }
}

function loadNamed() {
  const name = node("name").value.trim();
  load(name, name);
}

async function switchSource() {
  node("pad").hidden = node("tools").hidden = source() !== "pad";
  node("drop").hidden = source() !== "photo";
  node("video").hidden = source() !== "camera";
  camera.stop();
  if (source() === "camera") await camera.start().catch((error) => say(`The camera cannot be used: ${error.message}`, true));
  look();
}

for (const choice of sources) choice.addEventListener("change", switchSource);
node("model").addEventListener("submit", (event) => {
  event.preventDefault();
  loadNamed();
});
node("files").addEventListener("change", () => {
  const files = [...node("files").files];
  if (files.length) load(files, files.map(({ name }) => name).join(", "));
});
for (const [id, value] of new URLSearchParams(location.search)) {
  if (["name", "device", "precision"].includes(id)) node(id).value = value;
}
pad.write(3);
loadNamed();
