/** What of Go's regular expressions (RE2) ECMAScript's do not have, or the other way round. */
const flagGroup = /\(\?[imsU-]+(:|\))/g;
const unknownToGo = /\(\?(<?[=!])|\\(?![AafnrtvdDsSwWbBzpPQEx]|[^A-Za-z0-9]|[0-7])|\\[1-9]|\\k</;

/** Why kube-apiserver would refuse a regular expression of an origin, or take it too widely; undefined if it would not. */
export function faultOfOrigin(pattern: string): string | undefined {
  if (unknownToGo.test(pattern)) return "no regular expression of Go's (RE2)";
  try {
    new RegExp(pattern.replace(flagGroup, (_, end: string) => (end === ":" ? "(?:" : "")));
  } catch (error) {
    // V8 puts the expression before what it says of it.
    return `no regular expression: ${(error as Error).message.split(": ").at(-1)}`;
  }
  if (/\{\d{4,}/.test(pattern)) return "no regular expression of Go's: it repeats up to 1000 times";
  const anchored = alternatives(pattern.replace(/^\(\?[imsU]+\)/, "")).every(
    (part) => /^(\^|:?\/\/)/.test(part) && /(^|[^\\])(\\\\)*\$\)?$/.test(part),
  );
  return anchored ? undefined : "not anchored at both ends";
}

/** What stands between the `|` of a regular expression that no group holds. */
function alternatives(pattern: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const [token] of pattern.matchAll(/\\.|\[(\\.|[^\]])*\]|./gs)) {
    depth += token === "(" ? 1 : token === ")" ? -1 : 0;
    if (token === "|" && depth === 0) parts.push("");
    else parts[parts.length - 1] += token;
  }
  return parts;
}
