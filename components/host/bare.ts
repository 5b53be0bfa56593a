import { readFileSync } from "node:fs";

/**
 * A shell script as it travels: without comments and empty lines. A resource's state holds its script twice and is written
 * at every step of an `up`, so each byte costs; and a better comment is no change of a host. Here-documents would lose
 * lines, so they are refused.
 */
export function bareScript(url: URL): string {
  const lines = readFileSync(url, "utf8").trimEnd().split("\n");
  const document = lines.find((line) => /(^|[^<])<<-?\s*["'\\]?[A-Za-z_]/.test(line));
  if (document) throw new Error(`${url.pathname} has a here-document, whose lines may look like comments: ${document}`);
  return lines.filter((line) => !/^\s*(#|$)/.test(line)).join("\n");
}
