"use strict";

const element = (id) => document.getElementById(id);
let latest = 0;

function request(path, options = {}) {
  const token = element("token").value;
  return fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
}

async function listModels() {
  const response = await request("/v2/repository/index", { method: "POST" });
  element("token-label").hidden = response.status !== 401 && !element("token").value;
  if (!response.ok) {
    element("status").textContent = response.status === 401 ? "The server asks for a token." : (await response.json()).error;
    return;
  }
  const models = await response.json();
  element("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  element("status").textContent = "";
}

async function show(file) {
  const number = ++latest;
  const preview = element("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = file.name;
  preview.hidden = false;
  element("hint").hidden = true;
  element("answer").replaceChildren();
  element("status").textContent = "Computing …";
  const start = performance.now();
  try {
    const model = encodeURIComponent(element("model").value);
    let response = await request(`/classify?model=${model}`, { method: "POST", body: file });
    let answer = await response.json();
    if (response.status === 400) {
      // A model without classes.
      response = await request(`/embed?model=${model}`, { method: "POST", body: file });
      answer = await response.json();
    }
    if (number !== latest) return;
    const error = answer.error ?? answer.images[0].error;
    element("status").textContent = error ?? `${Math.round(performance.now() - start)} ms`;
    if (!error) list(answer.images[0]);
  } catch (error) {
    if (number === latest) element("status").textContent = `The server cannot be reached: ${error.message}`;
  }
}

function list({ classifications, embedding }) {
  const rows = (classifications ?? []).flatMap(({ top }) => top.map((entry) => row(entry.label ?? `class ${entry.index}`, entry.probability)));
  if (embedding) {
    const text = embedding.slice(0, 8).map((value) => value.toFixed(3)).join(", ");
    rows.push(row(`${embedding.length} values: ${text}, …`));
  }
  element("answer").replaceChildren(...rows);
}

function row(text, probability) {
  const item = document.createElement("li");
  const label = document.createElement("span");
  label.textContent = text;
  item.append(label);
  if (probability !== undefined) {
    const bar = document.createElement("progress");
    bar.value = probability;
    bar.setAttribute("aria-hidden", "true");
    const share = document.createElement("span");
    share.textContent = `${(100 * probability).toFixed(1)} %`;
    item.append(bar, share);
  }
  return item;
}

const drop = element("drop");
element("form").addEventListener("submit", (event) => event.preventDefault());
element("file").addEventListener("change", ({ target }) => { if (target.files[0]) show(target.files[0]); });
element("token").addEventListener("change", listModels);
drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") element("file").click(); });
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => { if (event.clipboardData.files[0]) show(event.clipboardData.files[0]); });
listModels();
