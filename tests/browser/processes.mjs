// Processes of a browser, and their memory.

import { readFileSync, readdirSync } from "node:fs";

/** Returns a file of a process below /proc. */
export function read(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    // It has ended.
    return "";
  }
}

/** Returns a process and all below it. */
export function children(root) {
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
  const parents = new Map(processes.map((pid) => [pid, Number(read(pid, "stat").split(") ").at(-1).split(" ")[1])]));
  const isOurs = (pid) => pid === root || (parents.has(pid) && isOurs(parents.get(pid)));
  return processes.filter(isOurs);
}

/** Returns the resident memory in MiB of a process and all below it; pages that they share are counted once. */
export function resident(root) {
  const share = (pid) => Number(/^Pss:\s+(\d+)/m.exec(read(pid, "smaps_rollup"))?.[1] ?? 0);
  return children(root).reduce((sum, pid) => sum + share(pid) / 1024, 0);
}
