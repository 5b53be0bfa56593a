import { insideLan, type LabInstance } from "../lab/instance.ts";
import { lastLines, run } from "../lab/shell.ts";
import { projectDirectory } from "../lab/stack.ts";
import type { Log } from "./lab.ts";
import type { Measurements } from "./measurements.ts";
import { cpuOfHosts, cpuOfMachine } from "./sample.ts";

/** Parts of a run, as `--only` names them. */
export const parts = ["first", "changes", "upload"] as const;
export type Part = (typeof parts)[number];

/** One round of a contender. */
export interface Round {
  readonly parts: ReadonlySet<Part>;
  readonly measurements: Measurements;
  readonly log: Log;
}

/** Runs one of the bench's shell scripts on the workstation, in the network of the hosts. */
export async function runScript(instance: LabInstance, script: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run([...insideLan(instance), "bash", `bench/${script}`, ...args], {
    cwd: projectDirectory,
  });
  if (code !== 0) throw new Error(`bench/${script} ended with ${code}, expected 0:\n${lastLines(stdout + stderr, 30)}`);
}

/** Seconds that `work` takes. */
export async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

/** Processor time in seconds while `work` runs: of the machine in all, whoever takes it, and of the instance's hosts. */
export async function processorOf(instance: LabInstance, work: () => Promise<unknown>) {
  const [machine, hosts] = [cpuOfMachine(), await cpuOfHosts(instance)];
  await work();
  return { machine: cpuOfMachine() - machine, hosts: (await cpuOfHosts(instance)) - hosts };
}
