import type { Span } from "./events.ts";

/** Groups of resources, with the colour of their bars. A resource belongs to the first whose prefix its type has. */
const groups = [
  { prefix: "tls:", title: "keys and certificates", colour: "#8a63d2" },
  { prefix: "random:", title: "random values", colour: "#b08bd9" },
  { prefix: "command:local:", title: "binaries sent", colour: "#1f77b4" },
  { prefix: "command:remote:", title: "work on hosts", colour: "#2a9d5c" },
  { prefix: "kubernetes:", title: "objects in the cluster", colour: "#d9822b" },
  { prefix: "pulumi:", title: "providers and the stack", colour: "#888888" },
  { prefix: "", title: "components", colour: "#c8ccd0" },
] as const;
type Group = (typeof groups)[number];

const groupOf = (type: string): Group => groups.find(({ prefix }) => type.startsWith(prefix)) ?? groups[6];

const labelWidth = 280;
const chartWidth = 1000;
const rowHeight = 13;
const laneHeight = 18;
const top = 46;
const right = 60;

/** A text as content or attribute of XML. */
export const escapeXml = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" })[c] ?? c);

const seconds = (value: number): string => `${value.toFixed(2)} s`;
const round = (value: number): string => String(Math.round(value * 10) / 10);

/** Distance of the axis' lines: the first of these that gives twenty at most. */
const tick = (length: number): number => [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60].find((t) => length / t <= 20) ?? 300;

/**
 * A picture of where the time goes, as SVG: a lane for each group of resources, where its bars lie over one another, then a row for each
 * resource in the order in which the engine began with them. `length` is the whole run in seconds; before the first bar, the engine
 * starts and the program is loaded. Each bar's tooltip says what it was and how long it took.
 */
export function renderTimeline(title: string, spans: readonly Span[], length: number): string {
  const x = (at: number): number => labelWidth + (at / length) * chartWidth;
  const lanes = groups.filter(({ prefix }) => spans.some(({ type }) => groupOf(type).prefix === prefix));
  const rowsTop = top + lanes.length * laneHeight + 14;
  const bottom = rowsTop + spans.length * rowHeight;
  const width = labelWidth + chartWidth + right;

  const bar = (span: Span, y: number, height: number, opacity: number): string => {
    const { colour } = groupOf(span.type);
    const said = `${span.op} ${span.name}\n${span.type}\n${span.urn}\n${seconds(span.start)} to ${seconds(span.end)}: ${seconds(span.end - span.start)}${span.failed ? ", failed" : ""}`;
    const wide = Math.max(1, x(span.end) - x(span.start));
    const fill = span.failed ? "#c0392b" : colour;
    return `<rect x="${round(x(span.start))}" y="${y}" width="${round(wide)}" height="${height}" fill="${fill}" fill-opacity="${opacity}"><title>${escapeXml(said)}</title></rect>`;
  };
  const label = (text: string, y: number, weight = "normal"): string =>
    `<text x="${labelWidth - 8}" y="${y}" text-anchor="end" font-weight="${weight}">${escapeXml(text)}</text>`;

  const axis = Array.from({ length: Math.floor(length / tick(length)) + 1 }, (_, i) => i * tick(length)).map(
    (at) =>
      `<line x1="${round(x(at))}" y1="${top - 6}" x2="${round(x(at))}" y2="${bottom}" stroke="#e3e6e8"/>` +
      `<text x="${round(x(at))}" y="${top - 10}" text-anchor="middle">${round(at)} s</text>`,
  );
  const lane = lanes.map((group, i) => {
    const y = top + i * laneHeight;
    const own = spans.filter(({ type }) => groupOf(type) === group);
    return [label(group.title, y + 12, "bold"), ...own.map((span) => bar(span, y + 2, laneHeight - 4, 0.45))].join("");
  });
  const rows = spans.map((span, i) => {
    const y = rowsTop + i * rowHeight;
    const took = `<text x="${round(Math.max(x(span.end), x(span.start) + 1) + 4)}" y="${y + 9}" fill="#667">${seconds(span.end - span.start)}</text>`;
    return [label(span.name, y + 9), bar(span, y + 1, rowHeight - 3, 1), took].join("");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${bottom + 10}" viewBox="0 0 ${width} ${bottom + 10}" font-family="sans-serif" font-size="10"><title>pulumi up, resource by resource</title>`,
    `<rect width="100%" height="100%" fill="white"/>`,
    `<text x="8" y="18" font-size="14" font-weight="bold">${escapeXml(title)}</text>`,
    ...axis,
    ...lane,
    ...rows,
    `<line x1="${round(x(length))}" y1="${top - 6}" x2="${round(x(length))}" y2="${bottom}" stroke="#333"><title>${seconds(length)}</title></line>`,
    "</svg>",
    "",
  ].join("\n");
}
