import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Part } from "./plan.ts";
import type { Outcomes } from "./results.ts";

/** A run that has ended. It is kept beside what the suite itself left of the run. */
export interface RunRecord {
  /** None if a focus chose the specs: then the run stands for itself. */
  readonly part?: Part;
  readonly kubernetes: string;
  readonly cluster: string;
  /** ISO 8601. */
  readonly started: string;
  readonly seconds: number;
  readonly outcomes: Outcomes;
}

const file = "run.json";

/** The folder of a run, by what chose its specs. */
export function folderOf(part?: Part): string {
  return part ? `part-${part.number}-of-${part.of}` : "focus";
}

/**
 * Keeps a run and returns it with the runs that it makes a whole with: the other parts of the same division and version of
 * Kubernetes, in order. The folders of other divisions are removed.
 */
export async function keep(record: RunRecord, directory: string): Promise<RunRecord[]> {
  const { part, kubernetes } = record;
  await writeFile(join(directory, folderOf(part), file), JSON.stringify(record));
  if (!part) return [record];
  const records: RunRecord[] = [];
  for (const name of (await readdir(directory)).filter((folder) => folder.startsWith("part-"))) {
    const path = join(directory, name);
    if (!name.endsWith(`-of-${part.of}`)) await rm(path, { recursive: true });
    else {
      // A part that was cut off has none.
      const text = await readFile(join(path, file), "utf8").catch(() => undefined);
      if (text) records.push(JSON.parse(text));
    }
  }
  const number = (one: RunRecord) => one.part?.number ?? 0;
  return records.filter((one) => one.kubernetes === kubernetes).toSorted((a, b) => number(a) - number(b));
}

/** What came out of several runs together. */
export function merge(records: readonly RunRecord[]): Outcomes {
  const outcomes = records.map((record) => record.outcomes);
  return {
    passed: outcomes.flatMap(({ passed }) => passed),
    failed: outcomes.flatMap(({ failed }) => failed),
    notRunnable: outcomes.flatMap(({ notRunnable }) => notRunnable),
  };
}

/** Numbers of the parts that have not been run. */
export function missingParts(records: readonly RunRecord[]): number[] {
  const of = records[0]?.part?.of ?? 0;
  const there = new Set(records.map(({ part }) => part?.number));
  return Array.from({ length: of }, (_, index) => index + 1).filter((number) => !there.has(number));
}
