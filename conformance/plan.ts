import type { Area, Need } from "./specs.ts";

/** A spec as the suite lists it. */
export interface SuiteSpec {
  /** Full name, as ginkgo's focus sees it. */
  readonly name: string;
  readonly labels: readonly string[];
}

export interface ChosenSpec {
  readonly name: string;
  readonly area: string;
}

export interface NotRunnable extends ChosenSpec {
  readonly reason: string;
}

/** What a run does with each spec of the suite. */
export interface Plan {
  readonly run: readonly ChosenSpec[];
  readonly notRunnable: readonly NotRunnable[];
  /** Specs of the chosen areas that must have the cluster to themselves. */
  readonly serial: readonly ChosenSpec[];
  /** Number of [Conformance] specs in other areas. */
  readonly elsewhere: number;
}

/** The name without tags in brackets (but for the group's) and without double spaces. */
export function plainName(name: string): string {
  return name
    .replace(/(?!^)\s*\[[^\]]*\]/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

/**
 * Sorts the suite's specs by area and by what stands in their way. `focus` narrows the choice to matching names.
 * Throws if a table entry matches no spec: the suite has moved on, and the table must follow.
 */
export function planRun(
  suite: readonly SuiteSpec[],
  areas: readonly Area[],
  needs: readonly Need[],
  focus?: RegExp,
): Plan {
  checkTables(suite, areas, needs);
  const run: ChosenSpec[] = [];
  const notRunnable: NotRunnable[] = [];
  const serial: ChosenSpec[] = [];
  let elsewhere = 0;
  for (const { name, labels } of suite) {
    const area = areas.find(({ prefixes }) => prefixes.some((prefix) => name.startsWith(prefix)))?.name;
    if (area === undefined) {
      elsewhere++;
      continue;
    }
    if (focus && !focus.test(name)) continue;
    const need = needs.find(({ spec }) => plainName(name) === spec);
    if (labels.includes("Serial")) serial.push({ name, area });
    else if (need) notRunnable.push({ name, area, reason: `needs the image ${need.image}: ${need.why}` });
    else run.push({ name, area });
  }
  return { run, notRunnable, serial, elsewhere };
}

function checkTables(suite: readonly SuiteSpec[], areas: readonly Area[], needs: readonly Need[]): void {
  const prefixes = areas
    .flatMap((area) => area.prefixes)
    .filter((prefix) => !suite.some(({ name }) => name.startsWith(prefix)));
  const specs = needs.map(({ spec }) => spec).filter((spec) => !suite.some(({ name }) => plainName(name) === spec));
  const unknown = [...prefixes, ...specs].map((entry) => JSON.stringify(entry));
  if (unknown.length === 0) return;
  throw new Error(
    `conformance/specs.ts names ${unknown.join(", ")}: got no such [Conformance] spec in the suite, expected one at least; ` +
      "correct the table for this version of Kubernetes",
  );
}

/** The regular expression (Go's) that matches these specs and no others, for ginkgo's focus. */
export function focusOf(specs: readonly ChosenSpec[]): string {
  const names = specs.map(({ name }) => name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return ` (?:${names.join("|")})$`;
}
