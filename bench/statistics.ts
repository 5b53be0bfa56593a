/** What several runs of the same took. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

/** Median and range. Of an even count the median is the mean of the middle two. Throws without a value. */
export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (i: number): number => {
    const value = sorted[i];
    if (value === undefined) throw new Error("no value to summarize: expected one measurement at least");
    return value;
  };
  const half = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? at(half) : (at(half - 1) + at(half)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1), count: sorted.length };
}

/** A goal of the project: `subject` at most, or at least, `limit` times `base`. */
export interface Goal {
  readonly subject: string;
  readonly base: string;
  readonly limit: number;
  /** Default: `at most`. */
  readonly sense?: "at most" | "at least";
  /** Measurement that is taken from the subject before it is compared: what every run of the subject starts with. */
  readonly without?: string;
}

/** What came out for a goal. */
export interface Ratio extends Goal {
  /** Of the medians. */
  readonly ratio: number;
  readonly isMet: boolean;
}

/** The ratios of the medians, for the goals whose measurements are there. */
export function ratios(goals: readonly Goal[], summaries: ReadonlyMap<string, Summary>): Ratio[] {
  return goals.flatMap((goal) => {
    const subject = summaries.get(goal.subject);
    const base = summaries.get(goal.base);
    const without = goal.without === undefined ? 0 : summaries.get(goal.without)?.median;
    if (subject === undefined || base === undefined || without === undefined) return [];
    const ratio = (subject.median - without) / base.median;
    return [{ ...goal, ratio, isMet: goal.sense === "at least" ? ratio >= goal.limit : ratio <= goal.limit }];
  });
}
