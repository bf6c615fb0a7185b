// Errors after which the module cannot be used.

/** Returns what the page is told of an error that has ended the module. */
export function fatal(error, hasRunOutOfMemory) {
  if (hasRunOutOfMemory?.()) {
    return { message: "WebAssembly's memory, 4 GiB at most, is too small for the model", kind: "out_of_memory", isFatal: true };
  }
  return { message: `internal error: ${error?.message ?? error}; please report it`, kind: "internal", isFatal: true };
}
