// The answer: the most probable classes as bars, and where the time goes.

const SHOWN = 5;

const element = (name, properties) => Object.assign(document.createElement(name), properties);

/** Shows the classes with the largest probabilities, or that there are none. */
export function showAnswer(best, list, labels, probabilities) {
  if (!probabilities) {
    setText(best, "No classes");
    list.replaceChildren(element("li", { textContent: "This model has none; its attention and the components of its patches are shown." }));
    return;
  }
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, SHOWN);
  const label = (index) => labels[index] ?? `Class ${index}`;
  setText(best, label(order[0]).split(",")[0]);
  list.replaceChildren(
    ...order.map((index) => {
      const line = element("li");
      const percent = (100 * probabilities[index]).toFixed(1);
      line.append(element("progress", { max: 1, value: probabilities[index], ariaHidden: "true" }), element("span", { textContent: label(index) }), `${percent} %`);
      return line;
    }),
  );
}

/** Shows that there is no answer. */
export function showNothing(best, list) {
  setText(best, "");
  list.replaceChildren();
}

/** Shows durations in milliseconds by name, and frames per second. */
export function showTimes(list, times) {
  list.replaceChildren(
    ...Object.entries(times).map(([name, value]) => {
      const line = element("div");
      line.append(element("dt", { textContent: name }), element("dd", { textContent: value }));
      return line;
    }),
  );
}

/** Sets a text only if it changes, so that screen readers say it once. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
