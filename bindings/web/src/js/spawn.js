// Workers from any origin.

/** Starts a module worker by `direct`, which bundlers understand; from another origin, such as a CDN, by a blob that imports it. */
export function spawn(url, direct, name) {
  if (url.origin === globalThis.location?.origin) return direct();
  const blob = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" }));
  const worker = new Worker(blob, { type: "module", name });
  worker.addEventListener("message", () => URL.revokeObjectURL(blob), { once: true });
  return worker;
}
