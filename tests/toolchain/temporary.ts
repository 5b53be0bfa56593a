import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "node:test";

/** A fresh folder and an empty cache for each test of a file; nothing of the user's is read or written. */
export function useTemporary(): { readonly dir: string } {
  const state = { dir: "" };
  const before = { ...process.env };
  beforeEach(async () => {
    state.dir = await fs.mkdtemp(join(tmpdir(), "plainkube-test-"));
    process.env.PLAINKUBE_CACHE = join(state.dir, "cache");
    // No test asks anything outside this machine.
    process.env.PLAINKUBE_OFFLINE = "1";
    process.env.PLAINKUBE_KEEP_GO_CACHE = "1";
  });
  afterEach(async () => {
    process.env = { ...before };
    await fs.rm(state.dir, { recursive: true, force: true });
  });
  return state;
}

/** A log that remembers its lines. */
export function memory(): { readonly lines: string[]; readonly log: (line: string) => void } {
  const lines: string[] = [];
  return { lines, log: (line) => lines.push(line) };
}
