import { stringify } from "yaml";

/** A typed object as a YAML document, in its own key order. */
export const yaml = (value: unknown): string =>
  stringify(value, { lineWidth: 0, aliasDuplicateObjects: false, compat: "yaml-1.1" });

/** Fills the `@NAME@` placeholders of a template. An unknown or an unused one is an error. */
export function fill(template: string, values: Readonly<Record<string, string | number>>): string {
  const unused = new Set(Object.keys(values));
  const text = template.replace(/@([A-Z_]+)@/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined)
      throw new Error(`template placeholder @${name}@ has no value; known are ${Object.keys(values).join(", ")}`);
    unused.delete(name);
    return String(value);
  });
  if (unused.size > 0) throw new Error(`template has no placeholder for ${[...unused].join(", ")}`);
  return text;
}

/** A value as one argument of a systemd unit's command line: no specifier, variable or word split is left in it. */
export function unitArgument(value: string): string {
  const escaped = value.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[A-Za-z0-9_@%+=:,./*$-]+$/.test(escaped)
    ? escaped
    : `"${escaped.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** Flags of a program by name; null takes one out of the unit. */
export type Flags = Readonly<Record<string, string | number | boolean | null>>;

/** Puts flags into a unit's ExecStart, one a line: a flag that stands there is replaced, another is added at the end. */
export function withFlags(unit: string, flags: Flags): string {
  const lines = unit.split("\n");
  const start = lines.findIndex((line) => line.startsWith("ExecStart="));
  if (start < 0) throw new Error("the unit has no ExecStart");
  let end = start;
  while (lines[end]?.endsWith("\\")) end++;
  const command = lines.slice(start, end + 1).map((line) => line.replace(/ ?\\$/, ""));
  for (const [name, value] of Object.entries(flags)) {
    const line = value === null ? [] : [`  ${unitArgument(`--${name}=${value}`)}`];
    const old = command.findIndex((l) => new RegExp(`^\\s+"?--${name}(=|"?$)`).test(l));
    command.splice(old >= 0 ? old : command.length, old >= 0 ? 1 : 0, ...line);
  }
  return [...lines.slice(0, start), command.join(" \\\n"), ...lines.slice(end + 1)].join("\n");
}

/** Puts a command before the main one of a unit, after those that stand there. */
export const withCommandBefore = (unit: string, command: string): string =>
  fill(unit.replace(/^ExecStart=/m, "ExecStartPre=@COMMAND@\nExecStart="), { COMMAND: command });

/** Merges an override over a config object: objects by field, everything else as a whole. */
export function merge(base: Readonly<Record<string, unknown>>, over: Readonly<Record<string, unknown>>) {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = result[key];
    result[key] = isObject(old) && isObject(value) ? merge(old, value) : value;
  }
  return result;
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);
