import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { findInstanceCgroups } from "../lab/cgroups.ts";
import type { LabInstance } from "../lab/instance.ts";

/** What a process and all its descendants took of the machine. */
export interface Usage {
  /** Largest sum of the resident sets at one moment, in bytes; pages that processes share count in each. */
  readonly peakRss: number;
  /** Processor time in seconds, of descendants that have ended meanwhile, too. */
  readonly cpuSeconds: number;
  /** The most processes at once. */
  readonly peakProcesses: number;
  /** Name of the program → its largest resident set, in bytes. */
  readonly peakByProgram: Readonly<Record<string, number>>;
}

/** One process as /proc shows it. */
export interface ProcessSample {
  readonly program: string;
  /** Bytes. */
  readonly rss: number;
  /** Seconds, with those of children that it has waited for. */
  readonly cpu: number;
}

const ticksPerSecond = 100;
const pageSize = 4096;

/** Reads /proc/PID/stat: the name may hold spaces and parentheses, the rest are numbers. Throws on another text. */
export function parseStat(stat: string): ProcessSample {
  const [, program, rest] = /^\d+ \((.*)\) \S (.*)$/s.exec(stat.trim()) ?? [];
  if (program === undefined || rest === undefined)
    throw new Error(`/proc/PID/stat: got ${stat}, expected PID (NAME) STATE …`);
  // From the fourth field on, as proc(5) counts them.
  const field = (number: number): number => Number(rest.split(" ")[number - 4]);
  const cpu = (field(14) + field(15) + field(16) + field(17)) / ticksPerSecond;
  return { program, cpu, rss: field(24) * pageSize };
}

/** Looks at a process tree ten times a second. It costs some hundredths of a core, which count into the machine's processor time. */
export class Sampler {
  readonly #root: number;
  readonly #timer: NodeJS.Timeout;
  #peakRss = 0;
  #cpuSeconds = 0;
  #peakProcesses = 0;
  readonly #peaks: Record<string, number> = {};

  constructor(root: number) {
    this.#root = root;
    this.#timer = setInterval(() => this.#look(), 100);
  }

  /** Ends the sampling. */
  stop(): Usage {
    clearInterval(this.#timer);
    return {
      peakRss: this.#peakRss,
      cpuSeconds: this.#cpuSeconds,
      peakProcesses: this.#peakProcesses,
      peakByProgram: this.#peaks,
    };
  }

  #look(): void {
    const samples = tree(this.#root);
    this.#peakProcesses = Math.max(this.#peakProcesses, samples.length);
    // Time of a child goes over to its parent when it ends, so the sum only grows.
    const sum = (of: (sample: ProcessSample) => number) => samples.reduce((all, sample) => all + of(sample), 0);
    this.#peakRss = Math.max(
      this.#peakRss,
      sum(({ rss }) => rss),
    );
    this.#cpuSeconds = Math.max(
      this.#cpuSeconds,
      sum(({ cpu }) => cpu),
    );
    for (const { program, rss } of samples) this.#peaks[program] = Math.max(this.#peaks[program] ?? 0, rss);
  }
}

/** The process and its descendants that are alive. */
function tree(pid: number): ProcessSample[] {
  try {
    const own = parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
    return [own, ...childrenOf(pid).flatMap(tree)];
  } catch {
    // It has ended meanwhile.
    return [];
  }
}

function childrenOf(pid: number): number[] {
  // A child belongs to the thread that started it.
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.flatMap((thread) => {
    try {
      const text = readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").trim();
      return text === "" ? [] : text.split(" ").map(Number);
    } catch {
      // The thread has ended meanwhile, not the process.
      return [];
    }
  });
}

/** Seconds that all cores together have been busy since the machine's start. */
export function cpuOfMachine(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) / ticksPerSecond;
}

/** Seconds of processor time that the hosts of an instance have taken, as their cgroups count them. */
export async function cpuOfHosts({ name, hosts }: LabInstance): Promise<number> {
  const folders = await findInstanceCgroups(name);
  // Several hierarchies may show the same count.
  const ofHost = (host: string) => Math.max(0, ...folders.map((folder) => cpuOfCgroup(join(folder, host))));
  return hosts.reduce((sum, host) => sum + ofHost(host.name), 0);
}

/** In cgroup v1 only one of the hierarchies counts; v2 has one. */
function cpuOfCgroup(folder: string): number {
  const v1 = join(folder, "cpuacct.usage");
  if (existsSync(v1)) return Number(readFileSync(v1, "utf8")) / 1e9;
  const v2 = join(folder, "cpu.stat");
  const usage = existsSync(v2) ? /^usage_usec (\d+)$/m.exec(readFileSync(v2, "utf8"))?.[1] : undefined;
  return Number(usage ?? 0) / 1e6;
}
