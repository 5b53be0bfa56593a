/** What travels by standard input, run by real shells. That a host runs it as root is for the end-to-end tests. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { unpacked } from "../../components/host/pack.ts";
import { concat, phaseScript, rootShell, shellWord, wholeScript } from "../../components/host/shipment.ts";
import { directory } from "./clusters.ts";

const nasty = [
  "",
  "plain-word_1./:@%+=,",
  "a b",
  "it's",
  "''",
  `'"'"'`,
  "\\",
  "\\'",
  "$HOME $(id) `id` !!",
  "line\nbreak\n",
  "\n",
  "-n",
  "--",
  "~",
  "*",
  "#x",
  "käse — 漢字 🚀",
  "\u0001\u001b[31m\u007f",
  "end\\",
  ";rm -rf /nonexistent",
  "{a,b}",
  "<>|&",
];

for (const shell of ["sh", "bash", "dash"]) {
  test(`a word stays one word for ${shell}`, () => {
    const script = `printf '%s\\0' ${nasty.map(shellWord).join(" ")}`;
    const { stdout, error } = spawnSync(shell, ["-c", script], { encoding: "utf8" });
    assert.ifError(error);
    assert.deepEqual(stdout.split("\0").slice(0, -1), nasty);
  });
}

test("arguments reach the script through the login shell", () => {
  for (const shell of ["sh", "bash"]) {
    const { stdout, status } = spawnSync(shell, ["-c", rootShell("first arg", "it's", "$HOME")], {
      input: wholeScript(`printf '%s|' "$@"`),
      encoding: "utf8",
    });
    // Without root this asks sudo, as it does on a host.
    if (process.getuid?.() === 0) assert.deepEqual([stdout, status], ["first arg|it's|$HOME|", 0]);
  }
});

test("a script's status is that of its body, and its standard input is empty", () => {
  const run = (body: string) => spawnSync("bash", ["-s"], { input: wholeScript(body), encoding: "utf8" });
  assert.equal(run("false").status, 1);
  assert.equal(run("set -e\nfalse\necho no").stdout, "");
  assert.equal(run("cat; echo end").stdout, "end\n", "it does not read itself");
});

const marker = join(directory, "ran");
const body = `: >${shellWord(marker)}\necho all of it`;

/** Runs what has arrived of a script when the connection is cut. */
function runPart(script: string): { ran: boolean; stdout: string; status: number | null } {
  rmSync(marker, { force: true });
  // Builtins only: a cut name may be that of a program, like `ex`.
  const options = { input: script, encoding: "utf8", timeout: 10_000, env: { PATH: "" } } as const;
  const { stdout, status } = spawnSync("/bin/bash", ["-s", "--", "x"], options);
  return { ran: existsSync(marker), stdout, status };
}

test("a script that is cut off anywhere does nothing by halves", () => {
  const script = wholeScript(body);
  for (let length = 0; length < script.length; length++) {
    const { ran, stdout } = runPart(script.slice(0, length));
    assert.equal(stdout, ran ? "all of it\n" : "", `${length} bytes: ${JSON.stringify(script.slice(0, length))}`);
    assert.ok(!ran || length > script.indexOf("\nmain"), "only the last lines start it");
  }
  assert.deepEqual(runPart(script), { ran: true, stdout: "all of it\n", status: 0 });
});

test("a script that is cut off fails", () => {
  const script = wholeScript(body);
  for (let length = 1; length < script.trimEnd().length; length++) {
    const { ran, status } = runPart(script.slice(0, length));
    assert.ok(!ran && status !== 0, `${length} bytes: ${JSON.stringify(script.slice(0, length))} ended with ${status}`);
  }
});

test("a file's content is any text that ends with a newline, and a secret's any text; neither may hold a NUL", () => {
  const file = (content: string) => ({ files: [{ path: "/etc/x", content }], units: [] });
  assert.throws(() => phaseScript("p", file("no newline"), []), /\/etc\/x does not end with a newline/);
  assert.throws(() => phaseScript("p", file("a\0\n"), []), /\/etc\/x holds a NUL/);
  const empty = file("\n");
  const secret = (content: string) => [{ path: "/etc/key", content }];
  assert.throws(() => phaseScript("p", empty, secret("a\0")), /\/etc\/key holds a NUL/);
  const script = unpacked(phaseScript("p", file("it's\n$(reboot)\n"), secret("'; reboot #")));
  assert.ok(script.includes("\nfile 0600 /etc/x 'it'\\''s\n$(reboot)\n'\n"));
  assert.ok(script.includes("\nsecret 0600 /etc/key ''\\''; reboot #'\n"));
});

test("payloads are joined in order", () => {
  const payload = (n: string) => ({ files: [{ path: n, content: "\n" }], units: [{ name: n, inputs: [] }] });
  assert.deepEqual(
    concat(payload("a"), payload("b")).units.map((u) => u.name),
    ["a", "b"],
  );
  assert.deepEqual(concat(), { files: [], units: [] });
});
