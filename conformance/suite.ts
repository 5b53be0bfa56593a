import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { insideLan } from "../lab/instance.ts";
import { must } from "../lab/shell.ts";
import { type Log, type StoredFile, seconds } from "../toolchain/cache.ts";
import type { Cluster } from "./cluster.ts";
import { type ChosenSpec, focusOf, type SuiteSpec } from "./plan.ts";
import { parseSuite } from "./results.ts";

/** The suite's programs in a folder of a run, under the names that ginkgo expects. */
export interface Suite {
  readonly ginkgo: string;
  readonly e2e: string;
  /** Holds the programs and whatever they leave. */
  readonly directory: string;
}

export async function placeSuite(built: Readonly<Record<string, StoredFile>>, directory: string): Promise<Suite> {
  const place = async (name: string): Promise<string> => {
    const program = built[name];
    if (!program) throw new Error(`${name}: the recipe conformance gave none; correct it in toolchain/modules.ts`);
    await symlink(program.path, join(directory, name));
    return join(directory, name);
  };
  return { ginkgo: await place("ginkgo"), e2e: await place("e2e.test"), directory };
}

/** All [Conformance] specs of the suite. Asks no cluster. */
export async function listSpecs({ e2e, directory }: Suite): Promise<SuiteSpec[]> {
  const report = join(directory, "specs.json");
  const flags = { "dry-run": "true", "label-filter": "Conformance", "json-report": report, "silence-skips": "true" };
  await must([e2e, ...Object.entries(flags).map(([key, value]) => `--ginkgo.${key}=${value}`)], { cwd: directory });
  return parseSuite(await readFile(report, "utf8"));
}

export interface RunOptions {
  readonly specs: readonly ChosenSpec[];
  /** How many specs run at a time. */
  readonly procs: number;
  readonly timeoutMinutes: number;
  /** Gets junit_01.xml, ginkgo.json and e2e.log; emptied first. */
  readonly reports: string;
  readonly log: Log;
  /** Ends the run; what is done by then is reported. */
  readonly signal: AbortSignal;
}

/**
 * Runs specs against a cluster and returns ginkgo's JSON report; ginkgo runs serial ones after all others, one at a time.
 * Throws if there is no report.
 */
export async function runSpecs(suite: Suite, cluster: Cluster, options: RunOptions): Promise<string> {
  const { specs, reports, log, signal } = options;
  signal.throwIfAborted();
  await rm(reports, { recursive: true, force: true });
  await mkdir(reports, { recursive: true });
  const ginkgo = {
    procs: String(options.procs),
    timeout: `${options.timeoutMinutes}m`,
    focus: focusOf(specs),
    "json-report": "ginkgo.json",
    "output-dir": reports,
    "keep-going": "true",
    "no-color": "true",
    "silence-skips": "true",
  };
  const e2e = {
    provider: "skeleton",
    kubeconfig: cluster.kubeconfig,
    "kubectl-path": cluster.kubectl,
    "num-nodes": String(cluster.instance.hosts.length),
    "dns-domain": cluster.dnsDomain,
    "disable-log-dump": "true",
    "report-dir": reports,
    "e2e-output-dir": reports,
  };
  const flags = (values: Readonly<Record<string, string>>) =>
    Object.entries(values).map(([key, value]) => `--${key}=${value}`);
  const command = [...insideLan(cluster.instance), suite.ginkgo, ...flags(ginkgo), suite.e2e, "--", ...flags(e2e)];
  const output = join(reports, "e2e.log");
  log(`running ${specs.length} specs, ${options.procs} at a time; output in ${output}`);
  await follow(command, { cwd: suite.directory, output, total: specs.length, log, signal });
  return readFile(join(reports, "ginkgo.json"), "utf8").catch(() => {
    throw new Error(`the suite left no report; see the end of ${output} for why`);
  });
}

interface Following {
  readonly cwd: string;
  readonly output: string;
  readonly total: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Runs the suite to its end, with a line of progress every 15 seconds. Its exit code says nothing that its report does not. */
async function follow(command: readonly string[], { cwd, output, total, log, signal }: Following): Promise<void> {
  const [program = "", ...args] = command;
  const { KUBECONFIG: _, ...env } = process.env;
  // A process group of its own, so that an interrupt reaches ginkgo and its processes once, from here.
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const file = createWriteStream(output);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      file.write(part);
    });
  }
  const started = Date.now();
  const progress = setInterval(() => {
    // Ginkgo prints a bullet for each spec that has ended.
    const ended = text.match(/•/g)?.length ?? 0;
    const failed = text.match(/^• \[(FAILED|TIMEDOUT|PANICKED|INTERRUPTED)/gm)?.length ?? 0;
    log(`${ended} of ${total} specs done, ${failed} failed … ${seconds(Date.now() - started)}`);
  }, 15_000);
  // Ginkgo stops its specs and writes its report on an interrupt.
  const interrupt = () => child.pid && process.kill(-child.pid, "SIGINT");
  signal.addEventListener("abort", interrupt);
  try {
    await new Promise<void>((resolve, reject) => {
      child.on("error", (cause) => reject(new Error(`cannot run ${program}: ${cause.message}`, { cause })));
      child.on("close", () => resolve());
    });
  } finally {
    signal.removeEventListener("abort", interrupt);
    clearInterval(progress);
    await new Promise((resolve) => file.end(resolve));
  }
}
