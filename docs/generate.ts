import { readFile, writeFile } from "node:fs/promises";
import { stringify } from "yaml";
import { z } from "zod";
import { clusterSchema } from "../components/schema.ts";

/** JSON Schema, as far as this reads it. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  /** What a wrong value is told. */
  expected?: string;
}

const schema = z.toJSONSchema(clusterSchema, {
  io: "input",
  unrepresentable: "any",
  override: ({ zodSchema, jsonSchema }) => {
    const told = z.safeParse(zodSchema, Symbol("no setting")).error?.issues[0]?.message;
    if (told !== undefined && !told.startsWith("Invalid")) (jsonSchema as Schema).expected = told;
  },
}) as unknown as Schema;

/** Lengths that say nothing: those of every name and of every line. */
const usual = [253, 4096];

/** The type of a setting, with its limits. */
function limited(s: Schema): string {
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER, maxLength = 253, minItems = 0, maxItems } = s;
  const told = s.expected ?? "";
  if (s.type === "integer") {
    const range = maximum < Number.MAX_SAFE_INTEGER && !/[0-9]/.test(told) ? `from ${minimum} to ${maximum}` : "";
    return [told || s.type, range].filter(Boolean).join(" ");
  }
  if (s.type === "string" && !s.enum) {
    const length = usual.includes(maxLength) ? "" : `at most ${maxLength} characters`;
    return [told.replace(/, in one line$|; put .*$/, "") || s.type, length].filter(Boolean).join(", ");
  }
  if (s.type === "array") {
    const count = maxItems === undefined ? (minItems > 0 ? `at least ${minItems}` : "") : `${minItems} to ${maxItems}`;
    return [typeOf(s), count].filter(Boolean).join(", ");
  }
  return s.anyOf && told ? told : typeOf(s);
}

function typeOf(s: Schema): string {
  if (s.enum) return s.enum.map((v) => `\`${v}\``).join(", ");
  if (s.anyOf) return s.anyOf.map(typeOf).join(" or ");
  if (s.type === "array") {
    const { items } = s;
    return items?.type === "string" && !items.enum
      ? `list: each ${limited(items)}`
      : `list of ${items ? typeOf(items) : "values"}`;
  }
  if (s.type === "object") return s.properties ? "object" : "map";
  return s.type ?? "any value";
}

/** A row per setting below a path, in the schema's order. */
function rows(s: Schema, path: string, required: boolean): string[] {
  const children = Object.entries(s.properties ?? s.items?.properties ?? {});
  const below = s.items?.properties ? `${path}[]` : path;
  const holder = s.items ?? s;
  const fallback =
    children.length > 0 && !s.items
      ? ""
      : s.default !== undefined
        ? `\`${JSON.stringify(s.default)}\``
        : required
          ? "required"
          : "";
  const row = `| \`${path}\` | ${limited(s)} | ${fallback} | ${s.description ?? ""} |`;
  return [
    row,
    ...children.flatMap(([key, child]) => rows(child, `${below}.${key}`, holder.required?.includes(key) ?? false)),
  ];
}

/** Every setting's path, as docs/config.md has it. */
export function settings(below: Schema = schema, path = ""): string[] {
  return Object.entries(below.properties ?? below.items?.properties ?? {}).flatMap(([key, child]) => {
    const own = `${path}${key}`;
    return [own, ...settings(child, `${own}${child.items?.properties ? "[]" : ""}.`)];
  });
}

/** The text of docs/config.md. */
export function configPage(): string {
  const sections = Object.entries(schema.properties ?? {}).map(([key, s]) =>
    [
      `## ${key}`,
      "",
      "| setting | type | default | meaning |",
      "|---|---|---|---|",
      ...rows(s, key, schema.required?.includes(key) ?? false),
      "",
    ].join("\n"),
  );
  return `# Configuration

Every key stands below \`plainkube:\` in \`Pulumi.<stack>.yaml\`. This page and the \`config\` section of Pulumi.yaml are made from
components/schema.ts by \`npm run docs\`. An unknown key, a wrong type or a contradiction is refused before anything is touched,
and all problems are reported together.

Pulumi hands all settings over in one environment variable, which Linux limits to 128 KiB: some 800 hosts with a \`hostKey\` each. Beyond
that a preview ends with \`argument list too long\`; keys in the known_hosts file take no room there.

${sections.join("\n")}`;
}

/** The text of Pulumi.yaml: what is written by hand before `config:`, and the schema after it. */
export function projectFile(old: string): string {
  const config = Object.fromEntries(
    Object.entries(schema.properties ?? {}).map(([key, s]) => {
      const fields = Object.keys(s.properties ?? s.items?.properties ?? {});
      const description = [s.description, fields.length ? `Fields: ${fields.join(", ")}.` : ""]
        .filter(Boolean)
        .join(" ");
      return [
        key,
        {
          type: s.type,
          ...(s.type === "array" && { items: { type: s.items?.type } }),
          description,
          default: s.default ?? (s.type === "array" ? [] : {}),
        },
      ];
    }),
  );
  return `${old.slice(0, old.indexOf("\nconfig:") + 1)}${stringify({ config }, { lineWidth: 0 })}`;
}

if (import.meta.main) {
  const at = (path: string): URL => new URL(`../${path}`, import.meta.url);
  await writeFile(at("docs/config.md"), configPage());
  await writeFile(at("Pulumi.yaml"), projectFile(await readFile(at("Pulumi.yaml"), "utf8")));
  console.log("wrote docs/config.md and the config section of Pulumi.yaml");
}
