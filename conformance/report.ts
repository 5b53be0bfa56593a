import { type ChosenSpec, plainName } from "./plan.ts";
import { merge, missingParts, type RunRecord } from "./records.ts";
import { firstLines, type Outcomes, summaryLine } from "./results.ts";

/** The report as Markdown: runs, figures by area, then each failure and each spec that cannot run, with reasons. */
export function markdown(records: readonly RunRecord[], total: number): string {
  const outcomes = merge(records);
  const { passed, failed, notRunnable } = outcomes;
  const missing = missingParts(records);
  return [
    "# Conformance",
    "",
    `Of ${total} [Conformance] specs of the official suite: **${summaryLine(outcomes)}**.`,
    ...(missing.length > 0 ? [`Not run yet: part ${missing.join(", ")} of ${records[0]?.part?.of}.`] : []),
    "",
    ...table(["run", "Kubernetes", "cluster", "started", "minutes", ...kinds], records.map(rowOf)),
    "",
    ...table(["sig", "area", ...kinds], figures(outcomes)),
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

const kinds = ["passed", "failed", "not runnable"] as const;

const counts = ({ passed, failed, notRunnable }: Outcomes, isCounted: (spec: ChosenSpec) => boolean = () => true) =>
  [passed, failed, notRunnable].map((list) => list.filter(isCounted).length);

function rowOf({ part, kubernetes, cluster, started, seconds, outcomes }: RunRecord): (string | number)[] {
  const title = part ? `${part.number} of ${part.of}` : "focus";
  return [title, kubernetes, cluster, started, (seconds / 60).toFixed(1), ...counts(outcomes)];
}

/** A row for each group of developers, followed by a row for each of its areas. */
function figures(outcomes: Outcomes): (string | number)[][] {
  const specs = Object.values(outcomes).flat() as ChosenSpec[];
  const sigs = [...new Set(specs.map(({ sig }) => sig))].sort();
  const rows = sigs.flatMap((sig) => {
    const own = specs.filter((spec) => spec.sig === sig);
    const areas = [...new Set(own.map(({ area }) => area))].sort();
    return [
      [`**${sig}**`, "", ...counts(outcomes, (spec) => spec.sig === sig)],
      ...areas.map((area) => ["", area, ...counts(outcomes, (spec) => spec.sig === sig && spec.area === area)]),
    ];
  });
  return [...rows, ["**all**", "", ...counts(outcomes)]];
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
}

function section<T>(title: string, items: readonly T[], lines: (item: T) => string[]): string[] {
  return items.length === 0 ? [] : [`## ${title}`, "", ...items.flatMap(lines), ""];
}

const fenced = (text: string) => ["```text", ...text.split("\n"), "```"].map((line) => `  ${line}`);

/** The same as a JUnit file: one test suite for each group of developers, one class for each area. */
export function junit(records: readonly RunRecord[]): string {
  const { passed, failed, notRunnable } = merge(records);
  const cases = [
    ...passed.map((spec) => ({ ...spec, inside: "" })),
    ...failed.map((spec) => ({
      ...spec,
      inside: `<failure message="${escapeXml(spec.state)}">${escapeXml(spec.message)}</failure>`,
    })),
    ...notRunnable.map((spec) => ({ ...spec, seconds: 0, inside: `<skipped message="${escapeXml(spec.reason)}"/>` })),
  ];
  const sigs = [...new Set(cases.map(({ sig }) => sig))].sort();
  const of = (sig: string, specs: readonly ChosenSpec[]) => specs.filter((spec) => spec.sig === sig).length;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites tests="${cases.length}" failures="${failed.length}" skipped="${notRunnable.length}">`,
    ...sigs.flatMap((sig) => [
      `  <testsuite name="${escapeXml(sig)}" tests="${of(sig, cases)}" failures="${of(sig, failed)}" skipped="${of(sig, notRunnable)}">`,
      ...cases
        .filter((one) => one.sig === sig)
        .map(({ name, area, seconds, inside }) => {
          const start = `    <testcase name="${escapeXml(name)}" classname="${escapeXml(area)}" time="${seconds.toFixed(1)}"`;
          return inside === "" ? `${start}/>` : `${start}>${inside}</testcase>`;
        }),
      "  </testsuite>",
    ]),
    "</testsuites>",
    "",
  ].join("\n");
}

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text for an XML attribute or element, without the control characters that XML cannot hold. */
function escapeXml(text: string): string {
  return text.replace(/[&<>"]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd]/g, (found) => entities[found] ?? "");
}
