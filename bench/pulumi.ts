import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { lastLines, must } from "../lab/shell.ts";
import { type LabStack, projectDirectory } from "../lab/stack.ts";
import { parseEvent, type TimedEvent } from "./events.ts";
import { Sampler, type Usage } from "./sample.ts";

/** What a Pulumi command did and took. */
export interface PulumiRun {
  /** From the start of the command to its end. */
  readonly seconds: number;
  readonly events: readonly TimedEvent[];
  /** Of the engine with its plugins, the program and all that they start. */
  readonly usage: Usage;
}

export interface PulumiOptions {
  /** Folder of the program. Default: this project's. */
  readonly cwd?: string;
}

/** Runs a Pulumi command (up, preview, destroy) that has to succeed, and records what the engine says while it says it. */
export async function runPulumi(
  stack: LabStack,
  args: readonly string[],
  { cwd = projectDirectory }: PulumiOptions = {},
): Promise<PulumiRun> {
  const folder = await mkdtemp(join(tmpdir(), "plainkube-bench-"));
  try {
    // A pipe instead of a file: each event gets its time as it comes.
    const pipe = join(folder, "events");
    await must(["mkfifo", pipe]);
    const [program = "", ...rest] = stack.command([...args, "--event-log", pipe, "--non-interactive"]);
    const began = performance.now();
    const events: TimedEvent[] = [];
    const reader = spawn("cat", [pipe], { stdio: ["ignore", "pipe", "inherit"] });
    const read = once(reader, "close");
    createInterface(reader.stdout).on("line", (line) =>
      events.push({ at: (performance.now() - began) / 1000, event: parseEvent(line) }),
    );
    const child = spawn(program, rest, {
      cwd,
      // The engine offers its event log to those who debug it.
      env: { ...process.env, ...stack.environment, PULUMI_DEBUG_COMMANDS: "true" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const sampler = new Sampler(child.pid ?? 0);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
    }
    const [code] = (await once(child, "close")) as [number | null];
    const seconds = (performance.now() - began) / 1000;
    const usage = sampler.stop();
    // A command that has failed may not have opened the pipe, and nobody would ever end it.
    if (code !== 0) reader.kill();
    await read;
    if (code !== 0)
      throw new Error(`pulumi ${args.join(" ")} ended with ${code}, expected 0:\n${lastLines(output, 40)}`);
    return { seconds, events, usage };
  } finally {
    await rm(folder, { recursive: true });
  }
}
