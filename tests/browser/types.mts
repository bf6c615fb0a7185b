// What the package's types allow and what they do not. Compiled, never run.

import { PatchMap, Vitraux, VitrauxError, type Prediction, type Tensor } from "../../bindings/web/dist/vitraux.js";

export async function allowed(video: HTMLVideoElement, frame: VideoFrame, canvas: OffscreenCanvas, files: FileList, signal: AbortSignal) {
  const model = await Vitraux.load("owner/model", { device: "gpu", precision: "f16", signal, progress: ({ file, loaded, total }) => console.log(file, loaded / total) });
  await Vitraux.load(new URL("https://example.org/model/"), { fetch, cache: await caches.open("mine") });
  await Vitraux.load({ config: { architecture: "vit_tiny_patch16_224" }, weights: new Blob([]) });
  await Vitraux.load([...files]);
  const best: Prediction | undefined = (await model.classify(video, { topK: 1, signal }))[0];
  const vector: Float32Array = await model.embed(frame, { normalize: true });
  const map: PatchMap = await model.attention(canvas, { layer: -1, query: 0 });
  await map.paint(canvas, { head: 0, opacity: 0.5 });
  const outputs: Record<string, Tensor | PatchMap> = await model.forward(frame, ["tokens", "pca"]);
  const names: readonly string[] = model.outputs;
  await model.forward(canvas, names);
  await model.forward({ shape: [1, 3, 224, 224] as const, data: [0] }, ["logits"] as const);
  const logits: Tensor | undefined = (await model.forward({ shape: [1, 3, 224, 224], data: vector }, ["logits"])).logits;
  model.dispose();
  return [best?.label, logits?.shape, outputs, map.tokenAt(1, 2)];
}

export async function forbidden(model: Vitraux, error: unknown) {
  // @ts-expect-error: no such device
  await Vitraux.load("digits", { device: "tpu" });
  // @ts-expect-error: models are loaded
  new Vitraux();
  // @ts-expect-error: an image, not its address
  await model.classify("photo.jpg");
  // @ts-expect-error: a description is read
  model.depth = 3;
  // @ts-expect-error: failures have kinds
  new VitrauxError("no kind");
  return error instanceof VitrauxError ? error.kind : new VitrauxError("another", "internal", { cause: error });
}
