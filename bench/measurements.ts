import { type Goal, type Summary, summarize } from "./statistics.ts";

/** Unit of a figure; ratios are taken of figures with the same unit. */
export type Unit = "s" | "MB/s" | "bytes" | "count";

/** What is measured, by name, in the order in which it is shown. */
export const figures = {
  "first up: script": "s",
  "first up: kubeadm": "s",
  "first up: pulumi": "s",
  "first up: script, processor": "s",
  "first up: kubeadm, processor": "s",
  "first up: pulumi, processor": "s",
  "first up: pulumi, processor of hosts": "s",
  "first up: pulumi, processor of the engine's processes": "s",
  "first up: pulumi, peak memory of the engine's processes": "bytes",
  "first up: pulumi, SSH connections": "count",
  "first up: pulumi, SSH connections of one host": "count",
  "first up: pulumi, sent": "bytes",
  "first up: script, sent": "bytes",
  "state: size": "bytes",
  "state: resources": "count",
  "preview: empty program": "s",
  "preview: no change": "s",
  "up: empty program": "s",
  "up: no change": "s",
  "up: no change, SSH connections": "count",
  "one flag: restart over ssh": "s",
  "one flag: pulumi up": "s",
  "one flag: pulumi up, SSH connections": "count",
  "third host: script": "s",
  "third host: pulumi up": "s",
  "third host: pulumi up, commands on other hosts": "count",
  "third host: pulumi up, units restarted on other hosts": "count",
  destroy: "s",
  "upload: ssh cat": "MB/s",
  "upload: ours": "MB/s",
  "upload: again": "s",
  "upload: again, sent": "bytes",
  "upload at 1 Gbit/s: ssh cat": "MB/s",
  "upload at 1 Gbit/s: ours": "MB/s",
} as const satisfies Readonly<Record<string, Unit>>;

export type Figure = keyof typeof figures;

/** The project's goals, as ratios of what one run measures. */
export const goals = [
  { subject: "first up: pulumi", base: "first up: script", limit: 1.1 },
  { subject: "first up: pulumi", base: "first up: kubeadm", limit: 0.35 },
  { subject: "preview: no change", base: "preview: empty program", limit: 1.5 },
  { subject: "one flag: pulumi up", base: "one flag: restart over ssh", limit: 1.5, without: "up: empty program" },
  { subject: "third host: pulumi up", base: "third host: script", limit: 1.2 },
  { subject: "upload: ours", base: "upload: ssh cat", limit: 0.9, sense: "at least" },
] as const satisfies readonly (Goal & { subject: Figure; base: Figure; without?: Figure })[];

/** What was measured so far, each time anew a value. */
export class Measurements {
  readonly #values = new Map<Figure, number[]>();
  readonly #tell: (figure: Figure, value: number) => void;

  /** `tell` hears of each value as it comes; default nobody. */
  constructor(tell: (figure: Figure, value: number) => void = () => undefined) {
    this.#tell = tell;
  }

  add(figure: Figure, value: number): void {
    this.#values.set(figure, [...(this.#values.get(figure) ?? []), value]);
    this.#tell(figure, value);
  }

  /** Every value, in the order in which it was measured. */
  get values(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#inOrder());
  }

  get summaries(): Map<Figure, Summary> {
    return new Map(this.#inOrder().map(([figure, values]) => [figure, summarize(values)]));
  }

  #inOrder(): [Figure, number[]][] {
    return (Object.keys(figures) as Figure[]).flatMap((figure) => {
      const values = this.#values.get(figure);
      return values ? [[figure, values] as [Figure, number[]]] : [];
    });
  }
}
