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
}

const schema = z.toJSONSchema(clusterSchema, { io: "input", unrepresentable: "any" }) as unknown as Schema;

function typeOf(s: Schema): string {
  if (s.enum) return s.enum.map((v) => `\`${v}\``).join(", ");
  if (s.anyOf) return s.anyOf.map(typeOf).join(" or ");
  if (s.type === "array") return `list of ${s.items ? typeOf(s.items) : "values"}`;
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
  const row = `| \`${path}\` | ${typeOf(s)} | ${fallback} | ${s.description ?? ""} |`;
  return [
    row,
    ...children.flatMap(([key, child]) => rows(child, `${below}.${key}`, holder.required?.includes(key) ?? false)),
  ];
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
