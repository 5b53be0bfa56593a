import { type NotRunnable, type Plan, plainName, type SuiteSpec } from "./plan.ts";

/** The part of ginkgo's JSON report that is read here. */
interface GinkgoReport {
  readonly SpecReports?: readonly GinkgoSpec[] | null;
}

interface GinkgoSpec {
  readonly ContainerHierarchyTexts?: readonly string[] | null;
  readonly ContainerHierarchyLabels?: readonly (readonly string[] | null)[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly LeafNodeLabels?: readonly string[] | null;
  readonly State: string;
  /** Nanoseconds. */
  readonly RunTime: number;
  readonly Failure?: { readonly Message: string; readonly Location?: { FileName: string; LineNumber: number } };
}

/** How a spec ended. */
export interface SpecResult {
  readonly name: string;
  /** Ginkgo's word: passed, failed, timedout, interrupted, panicked, aborted, skipped. */
  readonly state: string;
  readonly seconds: number;
  /** What went wrong and where; empty when it passed. */
  readonly message: string;
}

const parseSpecs = (json: string): GinkgoSpec[] =>
  (JSON.parse(json) as GinkgoReport[]).flatMap((report) => report.SpecReports ?? []);

const nameOf = (spec: GinkgoSpec) => [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(" ");

/** The specs that a dry run selected. */
export function parseSuite(json: string): SuiteSpec[] {
  return parseSpecs(json)
    .filter((spec) => spec.LeafNodeType === "It" && spec.State !== "skipped")
    .map((spec) => ({
      name: nameOf(spec),
      labels: [
        ...(spec.ContainerHierarchyLabels ?? []).flatMap((labels) => labels ?? []),
        ...(spec.LeafNodeLabels ?? []),
      ],
    }));
}

/** Results by name, and failures of the suite's own set-up, which count for no spec. */
export function parseResults(json: string): { specs: Map<string, SpecResult>; suite: SpecResult[] } {
  const specs = new Map<string, SpecResult>();
  const suite: SpecResult[] = [];
  for (const spec of parseSpecs(json)) {
    const { FileName, LineNumber } = spec.Failure?.Location ?? {};
    const result = {
      name: nameOf(spec) || spec.LeafNodeType,
      state: spec.State,
      seconds: spec.RunTime / 1e9,
      message: spec.Failure ? `${spec.Failure.Message}${FileName ? `\n${FileName}:${LineNumber}` : ""}` : "",
    };
    // A pattern also lists what it left out.
    if (spec.LeafNodeType === "It") {
      if (spec.State !== "skipped" || spec.Failure) specs.set(result.name, result);
    } else if (spec.State !== "passed") suite.push(result);
  }
  return { specs, suite };
}

/** A chosen spec with its result. */
export interface Outcome extends SpecResult {
  readonly area: string;
}

/** Everything that a run found out. */
export interface Outcomes {
  readonly passed: readonly Outcome[];
  readonly failed: readonly Outcome[];
  readonly notRunnable: readonly NotRunnable[];
}

/**
 * What became of each chosen spec. One that decides itself that it cannot run here is not runnable, with its own reason;
 * one without a result counts as failed.
 */
export function judge(plan: Plan, results: ReadonlyMap<string, SpecResult>): Outcomes {
  const passed: Outcome[] = [];
  const failed: Outcome[] = [];
  const notRunnable = [...plan.notRunnable];
  for (const { name, area } of plan.run) {
    const result = results.get(name);
    if (result?.state === "passed") passed.push({ ...result, area });
    else if (result?.state === "skipped") {
      notRunnable.push({ name, area, reason: `the suite skipped it: ${firstLines(result.message, 1)}` });
    } else if (result) failed.push({ ...result, area });
    else {
      const message = "no result: the run ended before its turn; give it more time with --timeout";
      failed.push({ name, area, state: "missing", seconds: 0, message });
    }
  }
  return { passed, failed, notRunnable };
}

/** The lines with text among the first, without the object dumps that the suite appends. */
export function firstLines(text: string, count: number): string {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line.trim() !== "")
    .slice(0, count)
    .map((line) => (line.length > 240 ? `${line.slice(0, 240)}…` : line))
    .join("\n");
}

/** The last line of a run. */
export const summaryLine = ({ passed, failed, notRunnable }: Outcomes): string =>
  `${passed.length} passed, ${failed.length} failed, ${notRunnable.length} not runnable`;

/** Facts of a run for its report. */
export interface RunFacts {
  readonly kubernetes: string;
  readonly cluster: string;
  readonly date: Date;
  readonly seconds: number;
}

/** The report as Markdown: figures by area, then each failure and each spec that cannot run, with reasons. */
export function markdown(plan: Plan, outcomes: Outcomes, facts: RunFacts): string {
  const areas = [...new Set([...plan.run, ...plan.notRunnable].map(({ area }) => area))].sort();
  const count = (list: readonly { area: string }[], area: string) => list.filter((one) => one.area === area).length;
  const { passed, failed, notRunnable } = outcomes;
  const rows = areas.map((area) => [area, ...[passed, failed, notRunnable].map((list) => count(list, area))]);
  const minutes = (facts.seconds / 60).toFixed(1);
  return [
    `# Conformance of ${facts.cluster}`,
    "",
    `Official suite of Kubernetes ${facts.kubernetes}, ${facts.date.toISOString().slice(0, 10)}, ${minutes} minutes: ` +
      `**${summaryLine(outcomes)}**.`,
    `Not chosen: ${plan.serial.length} serial specs of these areas, ${plan.elsewhere} [Conformance] specs of other areas.`,
    "",
    "| area | passed | failed | not runnable |",
    "|---|---:|---:|---:|",
    ...rows.map((row) => `| ${row.join(" | ")} |`),
    "",
    ...section("Failed", failed, ({ name, state, seconds, message }) => [
      `- ${plainName(name)} (${state} after ${Math.round(seconds)} s)`,
      "",
      ...fenced(firstLines(message, 12)),
      "",
    ]),
    ...section("Not runnable", notRunnable, ({ name, reason }) => [`- ${plainName(name)}: ${reason}`]),
    ...section("Passed", passed, ({ name, seconds }) => [`- ${plainName(name)} (${seconds.toFixed(1)} s)`]),
  ].join("\n");
}

function section<T>(title: string, items: readonly T[], lines: (item: T) => string[]): string[] {
  return items.length === 0 ? [] : [`## ${title}`, "", ...items.flatMap(lines), ""];
}

const fenced = (text: string) => ["```text", ...text.split("\n"), "```"].map((line) => `  ${line}`);
