import { type Figure, figures, goals, type Unit } from "./measurements.ts";
import { type Ratio, ratios, type Summary } from "./statistics.ts";

/** A value with its unit, short. */
export function shown(value: number, unit: Unit): string {
  switch (unit) {
    case "s":
      return `${value.toFixed(2)} s`;
    case "MB/s":
      return `${value.toFixed(0)} MB/s`;
    case "count":
      return String(value);
    case "bytes":
      return value >= 10_000_000 ? `${(value / 1e6).toFixed(0)} MB` : `${(value / 1e3).toFixed(1)} kB`;
  }
}

/** Rows as text in columns, the first to the left and the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const cell = (text: string, column: number) =>
    column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0);
  return rows.map((row) => row.map(cell).join("  ").trimEnd()).join("\n");
}

/** How a goal reads: `at most 1.1`. */
const limitOf = ({ limit, sense = "at most", without }: Ratio): string =>
  `${sense} ${limit}${without ? ` without ${without}` : ""}`;

/** The figures as a table of median and range, then the ratios against the goals. */
export function report(summaries: ReadonlyMap<Figure, Summary>): string {
  const measured = [...summaries].map(([figure, { median, min, max, count }]) => {
    const unit = figures[figure];
    return [figure, shown(median, unit), `${shown(min, unit)} to ${shown(max, unit)}`, String(count)];
  });
  const compared = ratios(goals, summaries).map((ratio) => [
    `${ratio.subject} / ${ratio.base}`,
    ratio.ratio.toFixed(2),
    limitOf(ratio),
    ratio.isMet ? "met" : "missed",
  ]);
  return [
    table([["", "median", "range", "runs"], ...measured]),
    ...(compared.length > 0 ? ["", table([["ratio of medians", "", "goal", ""], ...compared])] : []),
    "",
  ].join("\n");
}
