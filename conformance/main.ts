import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { withScratch } from "../toolchain/cache.ts";
import { buildRecipe, hostArch, recipe, withBuildCaches } from "../toolchain/modules.ts";
import { type Cluster, devCluster, ownCluster, removeOwnCluster, reportDirectory } from "./cluster.ts";
import { assembleImages } from "./images.ts";
import { type Part, parsePart, plainName, planRun } from "./plan.ts";
import { folderOf, keep, merge, missingParts, type RunRecord } from "./records.ts";
import { withRegistry } from "./registry.ts";
import { junit, markdown } from "./report.ts";
import { firstLines, judge, parseResults, type SpecResult, summaryLine } from "./results.ts";
import { listSpecs, placeSuite, runSpecs } from "./suite.ts";

const usage = `usage: npm run conformance [-- OPTION…]
  --part=I/N         only part I of N; the report is of all parts run so far (default 1/1)
  --focus=REGEX      only specs whose name matches; the report is of these alone
  --use-dev          run against the lab that \`npm run lab\` made, not one of its own
  --keep             leave the suite's own lab running afterwards
  --procs=N          specs at a time, but for the serial ones (default 6)
  --timeout=MINUTES  end the run after that time (default 90)`;

interface Options {
  readonly part: Part;
  readonly focus: RegExp | undefined;
  readonly useDev: boolean;
  readonly keep: boolean;
  readonly procs: number;
  readonly timeout: number;
}

const began = performance.now();

function log(line: string): void {
  const elapsed = ((performance.now() - began) / 1000).toFixed(1).padStart(6);
  console.error(`[${elapsed} s] ${line}`);
}

function regex(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new Error(`--focus: got ${text}, expected a regular expression\n${usage}`);
  }
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      part: { type: "string", default: "1/1" },
      focus: { type: "string" },
      "use-dev": { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      procs: { type: "string", default: "6" },
      timeout: { type: "string", default: "90" },
    },
  });
  const positive = (name: "procs" | "timeout"): number => {
    const value = Number(values[name]);
    if (Number.isInteger(value) && value > 0) return value;
    throw new Error(`--${name}: got ${values[name]}, expected a whole number above 0\n${usage}`);
  };
  return {
    part: parsePart(values.part),
    focus: values.focus === undefined ? undefined : regex(values.focus),
    useDev: values["use-dev"],
    keep: values.keep,
    procs: positive("procs"),
    timeout: positive("timeout"),
  };
}

/** Runs the chosen specs against a cluster, prints and files the report. Returns the exit code. */
async function examine(cluster: Cluster, options: Options, signal: AbortSignal): Promise<number> {
  const { kubernetes } = cluster;
  const arch = hostArch();
  const built = await buildRecipe(recipe("conformance", kubernetes), { arch, log });
  const images = await assembleImages(built, kubernetes, arch, log);
  return withScratch(async (directory) => {
    const suite = await placeSuite(built, directory);
    const all = await listSpecs(suite);
    const specs = planRun(all, options.part, options.focus);
    const part = options.focus ? undefined : options.part;
    const reports = join(reportDirectory, folderOf(part));
    const started = new Date();
    const run = { specs, procs: options.procs, timeoutMinutes: options.timeout, reports, log, signal };
    const results = parseResults(await withRegistry(cluster, images, log, () => runSpecs(suite, cluster, run)));
    const record: RunRecord = {
      ...(part && { part }),
      kubernetes,
      cluster: `the lab ${cluster.instance.name}`,
      started: started.toISOString(),
      seconds: (Date.now() - started.getTime()) / 1000,
      outcomes: judge(specs, results.specs),
    };
    const records = await keep(record, reportDirectory);
    const filed = part ? reportDirectory : reports;
    const files = { "report.md": markdown(records, all.length), "junit.xml": junit(records) };
    for (const [name, text] of Object.entries(files)) await writeFile(join(filed, name), text);
    print(record, results.suite);
    for (const path of [...Object.keys(files).map((name) => join(filed, name)), join(reports, "e2e.log")]) {
      console.log(`  ${relative(process.cwd(), path)}`);
    }
    const missing = missingParts(records);
    if (records.length > 1 || missing.length > 0) {
      const rest = missing.length > 0 ? `; not run yet: part ${missing.join(", ")}` : "";
      console.log(`All parts so far: ${summaryLine(merge(records))}${rest}`);
    }
    console.log(summaryLine(record.outcomes));
    return record.outcomes.failed.length > 0 || results.suite.length > 0 ? 1 : 0;
  });
}

function print({ outcomes }: RunRecord, ofSuite: readonly SpecResult[]): void {
  const indented = (text: string) => text.replace(/^/gm, "    ");
  for (const { name, message } of ofSuite) {
    console.log(`\nThe suite's own ${name} failed:\n${indented(firstLines(message, 12))}`);
  }
  console.log(`\nPassed: ${outcomes.passed.length}`);
  for (const { name } of outcomes.passed) console.log(`  ${plainName(name)}`);
  console.log(`\nFailed: ${outcomes.failed.length}`);
  for (const { name, state, message } of outcomes.failed) {
    console.log(`  ${plainName(name)} (${state})\n${indented(firstLines(message, 8))}`);
  }
  console.log(`\nNot runnable: ${outcomes.notRunnable.length}`);
  for (const { name, reason } of outcomes.notRunnable) console.log(`  ${plainName(name)}: ${reason}`);
  console.log("");
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(usage);
    return 0;
  }
  const options = readOptions(args);
  const interrupted = new AbortController();
  // The suite stops and reports, and then the lab goes, as after a whole run.
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());
  return withBuildCaches(async () => {
    if (options.useDev) return examine(await devCluster(log), options, interrupted.signal);
    try {
      return await examine(await ownCluster(log), options, interrupted.signal);
    } finally {
      if (!options.keep) await removeOwnCluster(log);
    }
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  console.error(`plainkube: ${message}${code?.startsWith("ERR_PARSE_ARGS") ? `\n${usage}` : ""}`);
  process.exitCode = 1;
}
