import type { ChosenSpec, SuiteSpec } from "./plan.ts";

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
      container: spec.ContainerHierarchyTexts?.[0] ?? "",
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
export interface Outcome extends SpecResult, ChosenSpec {}

export interface NotRunnable extends ChosenSpec {
  readonly reason: string;
}

/** What became of specs. */
export interface Outcomes {
  readonly passed: readonly Outcome[];
  readonly failed: readonly Outcome[];
  readonly notRunnable: readonly NotRunnable[];
}

/**
 * What became of each chosen spec. One that decides itself that it cannot run here is not runnable, with its own reason;
 * one without a result counts as failed.
 */
export function judge(chosen: readonly ChosenSpec[], results: ReadonlyMap<string, SpecResult>): Outcomes {
  const passed: Outcome[] = [];
  const failed: Outcome[] = [];
  const notRunnable: NotRunnable[] = [];
  for (const spec of chosen) {
    const result = results.get(spec.name);
    if (result?.state === "passed") passed.push({ ...result, ...spec });
    else if (result?.state === "skipped") {
      notRunnable.push({ ...spec, reason: `the suite skipped it: ${firstLines(result.message, 1)}` });
    } else if (result) failed.push({ ...result, ...spec });
    else {
      const message = "no result: the run ended before its turn; give it more time with --timeout";
      failed.push({ ...spec, state: "missing", seconds: 0, message });
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
