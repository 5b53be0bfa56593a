import { gunzipSync } from "node:zlib";
import { gzipSync, strFromU8, strToU8 } from "fflate";

/**
 * Lines that do in bash what `script` does, at a third of its size: the state holds each script of a resource twice and is
 * written at every step of an `up`, and bash reads a script that comes by standard input byte by byte. Compressed by the same
 * code on every machine, as Node's own differs by version and processor, and another text would be another attempt.
 */
export function packed(script: string): string {
  const text = Buffer.from(gzipSync(strToU8(script), { level: 6, mtime: 0 })).toString("base64");
  return [
    `packed=${text}`,
    'if ! unpacked=$(printf %s "$packed" | base64 -d | gzip -dc); then',
    `  echo "plainkube: $(hostname) cannot unpack a script: base64 or gzip does not work there. Install coreutils and gzip, then run 'pulumi up' again." >&2`,
    "  exit 1",
    "fi",
    'eval "$unpacked"',
  ].join("\n");
}

/** A script with what `packed` has put into it as it was. */
export const unpacked = (script: string): string =>
  script.replace(/^packed=(\S+)\nif [\s\S]*?\neval "\$unpacked"$/gm, (_, text: string) =>
    strFromU8(gunzipSync(Buffer.from(text, "base64"))),
  );
