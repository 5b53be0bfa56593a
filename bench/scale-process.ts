import { spawn } from "node:child_process";
import { once } from "node:events";
import { Sampler } from "./sample.ts";

/** What a command and all processes below it took. */
export interface Taken {
  readonly code: number;
  readonly output: string;
  readonly seconds: number;
  /** Processor time of all of them. */
  readonly cpuSeconds: number;
  /** The most memory that all of them together had resident at once, in MiB; what they share counts for each. */
  readonly peakMiB: number;
  /** The most processes at once. */
  readonly peakProcesses: number;
}

/** Runs a command and measures it and every process below it. */
export async function measure(
  command: readonly string[],
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<Taken> {
  const [program = "", ...args] = command;
  const began = performance.now();
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const sampler = new Sampler(child.pid ?? 0);
  try {
    const [code] = (await once(child, "close")) as [number | null];
    const { cpuSeconds, peakRss, peakProcesses } = sampler.stop();
    return {
      code: code ?? 137,
      output,
      seconds: (performance.now() - began) / 1000,
      cpuSeconds,
      peakMiB: peakRss / 2 ** 20,
      peakProcesses,
    };
  } finally {
    sampler.stop();
  }
}
