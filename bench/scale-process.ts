import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";

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

interface Seen {
  readonly pid: number;
  readonly parent: number;
  readonly born: string;
  readonly cpuTicks: number;
  readonly pages: number;
}

const ticksPerSecond = 100;
const pageKiB = 4;

function processes(): Seen[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const text = readFileSync(`/proc/${name}/stat`, "utf8");
      // The program's name, in parentheses, may hold anything.
      const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
      const cpuTicks = Number(fields[11]) + Number(fields[12]);
      const [parent, born, pages] = [Number(fields[1]), fields[19] ?? "", Number(fields[21])];
      return [{ pid: Number(name), parent, born, cpuTicks, pages }];
    } catch {
      // It has ended since the folder was listed.
      return [];
    }
  });
}

/** A process and all below it. */
function tree(root: number): Seen[] {
  const all = processes();
  const children = Map.groupBy(all, ({ parent }) => parent);
  const found = all.filter(({ pid }) => pid === root);
  for (const one of found) found.push(...(children.get(one.pid) ?? []));
  return found;
}

/** Runs a command and measures it and every process below it, looking ten times a second. */
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
  const cpu = new Map<string, number>();
  let [peakPages, peakProcesses] = [0, 0];
  const look = () => {
    const now = child.pid === undefined ? [] : tree(child.pid);
    for (const { pid, born, cpuTicks } of now) cpu.set(`${pid} ${born}`, cpuTicks);
    peakPages = Math.max(
      peakPages,
      now.reduce((sum, { pages }) => sum + pages, 0),
    );
    peakProcesses = Math.max(peakProcesses, now.length);
  };
  const timer = setInterval(look, 100);
  try {
    const [code] = (await once(child, "close")) as [number | null];
    const cpuTicks = [...cpu.values()].reduce((sum, ticks) => sum + ticks, 0);
    return {
      code: code ?? 137,
      output,
      seconds: (performance.now() - began) / 1000,
      cpuSeconds: cpuTicks / ticksPerSecond,
      peakMiB: (peakPages * pageKiB) / 1024,
      peakProcesses,
    };
  } finally {
    clearInterval(timer);
  }
}
