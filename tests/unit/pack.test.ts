import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { packed, unpacked } from "../../components/host/pack.ts";

const bash = (input: string, env: NodeJS.ProcessEnv = process.env) =>
  spawnSync("/bin/bash", ["-s", "--", "first", "second"], { input, env, encoding: "utf8" });

const script = `said="it's $1"\nprintf '%s|%s\\n' "$said" 'ü "$2" \\'\nexit 7\n`;

test("a packed script does what the script does", () => {
  const { status, stdout, stderr } = bash(packed(script));
  assert.deepEqual([status, stdout, stderr], [7, `it's first|ü "$2" \\\n`, ""]);
});

test("a packed script keeps every byte that a word may hold", () => {
  const odd = "\u0001\u007f\r\t\\ \u00e9\ufffd\u{1f600} \n\n";
  const { stdout } = bash(packed(`printf %s '${odd}'`));
  assert.equal(stdout, odd);
});

test("a packed script is found among other lines, and is what it was", () => {
  assert.equal(unpacked(`a=1\n${packed(script)}\nb=2\n${packed("c=3")}\n`), `a=1\n${script}\nb=2\nc=3\n`);
});

test("the same script is packed into the same text, and into a third", () => {
  const long = Array.from({ length: 500 }, (_, i) => `file 0644 /etc/plainkube/${i % 50}.yaml`).join("\n");
  assert.ok(packed(long).length < long.length / 3);
  const sha256 = createHash("sha256").update(packed(long)).digest("hex");
  assert.equal(sha256, "ae4767bd8e6be4445237f938c1d4a0093a0ec4aa00e1ef8a78ee0f86785777c1");
  // Another text would ship every phase of every host again.
  assert.match(packed("true\n"), /^packed=H4sIAAAAAAAAAyspKk3lAgBCBSOhBQAAAA==\n/);
});

test("a host without gzip says so, and runs nothing", (t) => {
  const bin = mkdtempSync(join(tmpdir(), "plainkube-pack-"));
  t.after(() => rmSync(bin, { recursive: true }));
  for (const name of ["base64", "hostname"]) symlinkSync(`/usr/bin/${name}`, join(bin, name));
  const { status, stdout, stderr } = bash(`${packed("echo ran")}\necho went on`, { PATH: bin });
  assert.deepEqual([status, stdout], [1, ""]);
  assert.match(
    stderr,
    /plainkube: \S+ cannot unpack a script: .*Install coreutils and gzip, then run 'pulumi up' again\./,
  );
});
