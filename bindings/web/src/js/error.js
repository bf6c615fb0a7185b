/** A failure. `kind` tells which: "network", "argument", "file", "no_device", "out_of_memory" and so on. */
export class VitrauxError extends Error {
  constructor(message, kind, options) {
    super(message, options);
    this.name = "VitrauxError";
    this.kind = kind;
  }
}
