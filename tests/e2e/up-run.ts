import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { LabInstance } from "../../lab/instance.ts";
import { sleep } from "../../lab/shell.ts";
import { type LabStack, projectDirectory } from "../../lab/stack.ts";

/** A `pulumi up` beside the test, which can look at what it prints, and kill it. */
export class UpRun {
  readonly #child: ChildProcess;
  readonly #mark: string;
  readonly #closed: Promise<unknown>;
  readonly #lines: string[] = [];
  #ended = false;

  constructor(stack: LabStack, ...more: string[]) {
    this.#mark = `PLAINKUBE_UP_RUN=${randomUUID()}`;
    const [program = "", ...args] = stack.command(["up", "--yes", "--skip-preview", "--non-interactive", ...more]);
    const [name = "", value] = this.#mark.split("=");
    this.#child = spawn(program, args, {
      cwd: projectDirectory,
      env: { ...process.env, ...stack.environment, [name]: value },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream) createInterface(stream).on("line", (line) => this.#lines.push(line));
    }
    this.#closed = once(this.#child, "close").then(() => {
      this.#ended = true;
    });
  }

  /** All that it has printed. */
  get output(): string {
    return this.#lines.join("\n");
  }

  /** Waits until it has printed such a line: true; or until it has ended without: false. */
  async prints(line: RegExp): Promise<boolean> {
    for (;;) {
      const ended = this.#ended;
      if (this.#lines.some((text) => line.test(text))) return true;
      if (ended) return false;
      await sleep(20);
    }
  }

  /** Waits for its end; returns its exit code. */
  async end(): Promise<number | null> {
    await this.#closed;
    return this.#child.exitCode;
  }

  /** Command lines of its processes, those that outlive the engine included, by process id. */
  processes(): Map<number, string> {
    const found = new Map<number, string>();
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(this.#mark)) continue;
        found.set(Number(pid), readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim());
      } catch {
        // It has ended meanwhile.
      }
    }
    return found;
  }

  /** Kills the engine, and nothing else. */
  async killEngine(): Promise<void> {
    // nsenter has become the engine.
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }

  /** Kills the engine and all its processes; nothing of them is left then. */
  async killAll(): Promise<void> {
    this.#child.kill("SIGKILL");
    for (const deadline = Date.now() + 10_000; ; await sleep(20)) {
      const left = this.processes();
      if (left.size === 0) break;
      assert.ok(Date.now() < deadline, `processes that cannot be killed: ${[...left.values()].join("; ")}`);
      for (const pid of left.keys()) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It has ended meanwhile.
        }
      }
    }
    await this.#closed;
  }
}

/** After a kill just while the state of a stack was written: removes the empty file that it leaves, as docs/faults.md says. */
export async function mendState({ directory }: LabInstance, stack: string): Promise<void> {
  const file = join(directory, "state/.pulumi/stacks/plainkube", `${stack}.json.attrs`);
  if ((await stat(file).catch(() => undefined))?.size !== 0) return;
  console.error(`# ${file} was cut off, and is removed`);
  await rm(file);
}

/** Numbers from 0 to 1, the same for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** For a host's shell: waits until a binary is on its way to it, with so many bytes there. */
export const untilCopying = (bytes = 1): string =>
  `until part=$(ls -d /opt/plainkube/store/.part-* 2>/dev/null | tail -n 1) && [ "$(du -sb --exclude=receive "$part" 2>/dev/null | cut -f 1)" -gt $((4096 + ${bytes})) ]; do sleep 0.02; done`;

/** What a stack is told that wants the host of another, by preflight, or where both came at the same moment. */
export const isTaken =
  /(got:? +node|has just become node) (dev|other)-[0-9a-f]{8}\/\S+( of plainkube)?;?\s+expected:? +none, or node (dev|other)-[0-9a-f]{8}\//;
