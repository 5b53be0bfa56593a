/** A spec as the suite lists it. */
export interface SuiteSpec {
  /** Full name, as ginkgo's focus sees it. */
  readonly name: string;
  /** Text of the outermost container: `[sig-apps] Daemon set [Serial]`. */
  readonly container: string;
  readonly labels: readonly string[];
}

/** A spec of a run, and where its result is counted. */
export interface ChosenSpec {
  readonly name: string;
  /** The group of Kubernetes developers that answers for it: `sig-apps`. */
  readonly sig: string;
  /** What it examines: `Daemon set`. */
  readonly area: string;
}

/** One of `of` parts of the suite, counted from 1. */
export interface Part {
  readonly number: number;
  readonly of: number;
}

/** The name without tags in brackets (but for the group's) and without double spaces. */
export function plainName(name: string): string {
  return name
    .replace(/(?!^)\s*\[[^\]]*\]/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** Reads `2/3`. Throws unless it is one of the parts that it names. */
export function parsePart(text: string): Part {
  const [number = 0, of = 0] = /^(\d+)\/(\d+)$/.exec(text)?.slice(1).map(Number) ?? [];
  if (number >= 1 && number <= of) return { number, of };
  throw new Error(`--part: got ${text}, expected i/n with i from 1 to n, such as 2/3`);
}

/**
 * The specs of a part that match `focus`. Every spec is in one part of n, serial ones spread like the others, whatever the
 * order of the suite. Throws if nothing is left to run.
 */
export function planRun(suite: readonly SuiteSpec[], part: Part, focus?: RegExp): ChosenSpec[] {
  const isSerial = ({ labels }: SuiteSpec) => labels.includes("Serial");
  const byName = suite.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const chosen = [byName.filter((spec) => !isSerial(spec)), byName.filter(isSerial)]
    .flatMap((specs) => specs.filter((_, index) => index % part.of === part.number - 1))
    .filter(({ name }) => focus === undefined || focus.test(name));
  if (chosen.length > 0) return chosen.map(({ name, container }) => ({ name, ...placeOf(container) }));
  throw new Error(
    `--focus=${focus?.source} --part=${part.number}/${part.of}: got none of ${suite.length} [Conformance] specs, ` +
      "expected one at least; correct the expression, or take another part",
  );
}

/** `[sig-apps] Daemon set [Serial]` → sig-apps, Daemon set. */
function placeOf(container: string): { readonly sig: string; readonly area: string } {
  const [, sig = "", rest = container] = /^\[([^\]]+)\]\s*(.*)$/.exec(container) ?? [];
  return { sig, area: plainName(rest) };
}

/** The regular expression (Go's) that matches these specs and no others, for ginkgo's focus. */
export function focusOf(specs: readonly ChosenSpec[]): string {
  const names = specs.map(({ name }) => name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return ` (?:${names.join("|")})$`;
}
