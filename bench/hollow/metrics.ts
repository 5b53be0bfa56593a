/** Samples of a component's /metrics, by name and labels as they stand there. */
export type Metrics = ReadonlyMap<string, number>;

/** Reads Prometheus' text format. */
export function parseMetrics(text: string): Metrics {
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const end = line.lastIndexOf(" ");
    samples.set(line.slice(0, end), Number(line.slice(end + 1)));
  }
  return samples;
}

const labelsOf = (sample: string): Record<string, string> =>
  Object.fromEntries(
    [...sample.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = "", value = ""]) => [key, value]),
  );

/** Whether a sample's labels pass. */
export type Wanted = (labels: Readonly<Record<string, string>>) => boolean;

/** The sum of all samples of a name whose labels pass. */
export function total(metrics: Metrics, name: string, wanted: Wanted = () => true): number {
  let sum = 0;
  for (const [sample, value] of metrics) {
    if ((sample === name || sample.startsWith(`${name}{`)) && wanted(labelsOf(sample))) sum += value;
  }
  return sum;
}

/** How much a counter grew. */
export const grown = (before: Metrics, after: Metrics, name: string, wanted?: Wanted): number =>
  total(after, name, wanted) - total(before, name, wanted);

/**
 * The upper bound of the bucket that holds a quantile of what a histogram saw between two looks; undefined if it saw nothing.
 * `name` without `_bucket`.
 */
export function quantile(before: Metrics, after: Metrics, name: string, q: number, wanted: Wanted): number | undefined {
  const buckets = new Map<number, number>();
  for (const [sample, value] of after) {
    if (!sample.startsWith(`${name}_bucket{`)) continue;
    const labels = labelsOf(sample);
    if (!wanted(labels)) continue;
    const bound = labels.le === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + value - (before.get(sample) ?? 0));
  }
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  const all = buckets.get(Number.POSITIVE_INFINITY) ?? 0;
  return all > 0 ? bounds.find((bound) => (buckets.get(bound) ?? 0) >= q * all) : undefined;
}
