import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { withScratch } from "../toolchain/cache.ts";
import { buildRecipe, hostArch, recipe, withBuildCaches } from "../toolchain/modules.ts";
import { type Cluster, devCluster, loadImages, ownCluster, removeOwnCluster, reportDirectory } from "./cluster.ts";
import { assembleImages } from "./images.ts";
import { plainName, planRun } from "./plan.ts";
import { firstLines, judge, markdown, parseResults, summaryLine } from "./report.ts";
import { areas, needs } from "./specs.ts";
import { listSpecs, placeSuite, runSpecs } from "./suite.ts";

const usage = `usage: npm run conformance [-- OPTION…]
  --use-dev          run against the lab that \`npm run lab\` made, not one of its own
  --keep             leave the suite's own lab running afterwards
  --focus=REGEX      only chosen specs whose name matches
  --procs=N          specs at a time (default 6)
  --timeout=MINUTES  end the run after that time (default 90)`;

interface Options {
  readonly useDev: boolean;
  readonly keep: boolean;
  readonly focus: RegExp | undefined;
  readonly procs: number;
  readonly timeout: number;
}

const began = performance.now();

function log(line: string): void {
  const elapsed = ((performance.now() - began) / 1000).toFixed(1).padStart(6);
  console.error(`[${elapsed} s] ${line}`);
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      "use-dev": { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      focus: { type: "string" },
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
    useDev: values["use-dev"],
    keep: values.keep,
    focus: values.focus === undefined ? undefined : new RegExp(values.focus),
    procs: positive("procs"),
    timeout: positive("timeout"),
  };
}

/** Runs the chosen specs against a cluster, prints and files the report. Returns the exit code. */
async function examine(cluster: Cluster, options: Options, signal: AbortSignal): Promise<number> {
  const arch = hostArch();
  const built = await buildRecipe(recipe("conformance", cluster.kubernetes), { arch, log });
  await loadImages(cluster, await assembleImages(built, cluster.kubernetes, arch, log), log);
  return withScratch(async (directory) => {
    const suite = await placeSuite(built, directory);
    const plan = planRun(await listSpecs(suite), areas, needs, options.focus);
    const started = Date.now();
    const { procs, timeout: timeoutMinutes } = options;
    const run = { specs: plan.run, procs, timeoutMinutes, reports: reportDirectory, log, signal };
    const results = parseResults(await runSpecs(suite, cluster, run));
    const outcomes = judge(plan, results.specs);
    const facts = {
      kubernetes: cluster.kubernetes,
      cluster: `the lab ${cluster.instance.name}`,
      date: new Date(),
      seconds: (Date.now() - started) / 1000,
    };
    const report = join(reportDirectory, "report.md");
    await writeFile(report, markdown(plan, outcomes, facts));

    const indented = (text: string) => text.replace(/^/gm, "    ");
    for (const { name, message } of results.suite) {
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
    console.log(
      `\nNot chosen: ${plan.serial.length} serial specs of these areas, ${plan.elsewhere} [Conformance] specs of others.`,
    );
    for (const file of ["report.md", "junit_01.xml", "e2e.log"]) {
      console.log(`  ${relative(process.cwd(), join(reportDirectory, file))}`);
    }
    console.log(summaryLine(outcomes));
    return outcomes.failed.length > 0 || results.suite.length > 0 ? 1 : 0;
  });
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
  console.error(`plainkube: ${(error as Error).message}`);
  process.exitCode = 1;
}
