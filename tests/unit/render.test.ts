/**
 * The helpers that all files are rendered with. systemd says whether it understands the units; the arguments that it makes
 * of a command line are told by its documented rules here, and seen in real processes by the end-to-end tests.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { fill, merge, unitArgument, withFlags, yaml } from "../../components/render.ts";
import { directory } from "./clusters.ts";

test("fill puts values in place", () => {
  assert.equal(fill("a=@A@ b=@B_C@ a=@A@ me@example.com", { A: 1, B_C: "x" }), "a=1 b=x a=1 me@example.com");
  assert.equal(fill("@A@", { A: "@B@ $& $1" }), "@B@ $& $1", "values are not templates");
});

test("fill refuses what does not match", () => {
  assert.throws(() => fill("@A@ @B@", { A: 1 }), /placeholder @B@ has no value; known are A/);
  assert.throws(() => fill("@A@", { A: 1, B: 2, C: 3 }), /no placeholder for B, C/);
});

const values = [
  "plain",
  "",
  "-",
  "a b  c",
  "tab\tend",
  '"',
  "'",
  `'"'"`,
  "\\",
  "\\\\",
  "ends in \\",
  "\\n\\x41\\101",
  ["$HOME $", "{HOME} $$"].join(""),
  "%n %% %h",
  "a;b",
  " ; ",
  "#comment",
  "a=b,c=d",
  "~/x",
  "*?[a]{b,c}",
  "`reboot` $(reboot)",
  "käse — 漢字 🚀",
  "trailing ",
];

/** A command line as systemd reads it: the rules of systemd.syntax(7) and of "Command lines" in systemd.service(5). */
function argumentsOf(unit: string): string[] {
  const joined = unit.replaceAll(/\\\n/g, " ");
  const line = joined.split("\n").find((l) => l.startsWith("ExecStart="));
  assert.ok(line);
  const args: string[] = [];
  for (const [, quoted, bare] of line.slice("ExecStart=".length).matchAll(/"((?:[^"\\]|\\.)*)"(?=\s|$)|(\S+)/g)) {
    const text = quoted ?? bare ?? "";
    if (bare !== undefined) assert.doesNotMatch(bare, /["'\\]|^;$/, "what is not quoted needs no quoting");
    const unescaped = text.replace(/\\(.)/g, (_, c: string) => {
      assert.ok(c === "\\" || c === '"', `\\${c} is another character for systemd`);
      return c;
    });
    const expanded = unescaped.replace(/%(.?)|\$(.?)/gs, (whole) => {
      assert.ok(whole === "%%" || whole === "$$", `${whole} is a specifier or variable for systemd`);
      return whole.slice(1);
    });
    args.push(expanded);
  }
  return args;
}

/** What systemd complains about in a unit; programs that are not on this machine are not meant. */
function complaints(unit: string): string {
  const file = join(directory, "probe.service");
  writeFileSync(file, unit.replaceAll(/\/opt\/(plainkube\/(bin|scripts)|k8s)\/[a-z-]+(?= |$)/gm, "/bin/true"));
  const args = ["verify", "--man=no", "--generators=no", "--recursive-errors=no", file];
  const { stdout, stderr, error } = spawnSync("systemd-analyze", args, {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
  });
  assert.ifError(error);
  return `${stdout}${stderr}`
    .split("\n")
    .filter((line) => line.includes("probe.service"))
    .join("\n");
}

const bare = "[Unit]\nDescription=x\n\n[Service]\nExecStart=/bin/true\n";

test("a value is one argument of a unit, whatever it holds", () => {
  const flags = Object.fromEntries(values.map((value, i) => [`f${i}`, value]));
  const unit = withFlags(bare, flags);
  assert.deepEqual(argumentsOf(unit), ["/bin/true", ...values.map((value, i) => `--f${i}=${value}`)]);
  assert.equal(complaints(unit), "");
  for (const value of values) assert.equal(unitArgument(`--x=${value}`).split("\n").length, 1);
});

test("what looks harmless stays readable", () => {
  assert.equal(unitArgument("--feature-gates=A=true,B=false"), "--feature-gates=A=true,B=false");
  assert.equal(unitArgument("--rate=50%"), "--rate=50%%");
});

/** Every unit file that is shipped: where it lies among the golden files, and its text. */
async function unitFiles(): Promise<[string, string][]> {
  const golden = join(import.meta.dirname, "../golden");
  const files = (await readdir(golden, { recursive: true })).filter((path) => path.endsWith(".service"));
  assert.ok(files.length > 10);
  return Promise.all(
    files.map(async (file): Promise<[string, string]> => [file, await readFile(join(golden, file), "utf8")]),
  );
}

test("every unit file that is shipped is one that systemd understands", async () => {
  assert.match(complaints(`${bare}Restrat=always\n`), /Restrat/, "systemd's complaints are seen");
  for (const [file, text] of await unitFiles()) assert.equal(complaints(text), "", file);
});

test("systemd starts again what runs, and never gives up", async () => {
  for (const [file, text] of await unitFiles()) {
    if (!/^Type=oneshot$/m.test(text)) assert.match(text, /^StartLimitIntervalSec=0$[\s\S]*^Restart=always$/m, file);
  }
});

const unit = [
  "[Service]",
  "ExecStartPre=/bin/before --v=1",
  "ExecStart=/bin/it \\",
  "  --config=/etc/it.yaml \\",
  "  --kubeconfig-x=1 \\",
  "  --kubeconfig=/etc/k \\",
  "  --v=2",
  "Restart=always",
  "",
].join("\n");

test("withFlags replaces what stands there and adds the rest", () => {
  assert.equal(withFlags(unit, {}), unit, "no flags, no change");
  const changed = withFlags(unit, { kubeconfig: "/new", v: 4, config: "a b", "new-flag": true, kube: 0 });
  assert.deepEqual(changed.split("\n"), [
    "[Service]",
    "ExecStartPre=/bin/before --v=1",
    "ExecStart=/bin/it \\",
    '  "--config=a b" \\',
    "  --kubeconfig-x=1 \\",
    "  --kubeconfig=/new \\",
    "  --v=4 \\",
    "  --new-flag=true \\",
    "  --kube=0",
    "Restart=always",
    "",
  ]);
  assert.deepEqual(withFlags(changed, { config: "/again" }).split("\n")[3], "  --config=/again \\", "quoted ones too");
  assert.equal(withFlags(unit, { "kubeconfig-x": 2 }).split("\n")[4], "  --kubeconfig-x=2 \\");
});

test("withFlags takes a flag out, the last one too", () => {
  const lines = "ExecStart=/bin/it \\\n  --a=1 \\\n  --b=2\nRestart=no\n";
  assert.equal(withFlags(lines, { b: null, c: null }), "ExecStart=/bin/it \\\n  --a=1\nRestart=no\n");
  assert.equal(withFlags(lines, { a: null, b: null }), "ExecStart=/bin/it\nRestart=no\n");
});

test("withFlags takes a command of one line, and no unit without a command", () => {
  assert.equal(withFlags("ExecStart=/bin/it\nRestart=no\n", { v: 1 }), "ExecStart=/bin/it \\\n  --v=1\nRestart=no\n");
  assert.throws(() => withFlags("[Service]\nExecStartPre=/bin/x\n", { v: 1 }), /the unit has no ExecStart/);
});

test("merge goes by field into objects, and takes everything else as a whole", () => {
  const base = { a: 1, list: [1, 2], deep: { x: { y: 1, z: 2 }, kept: true } };
  const merged = merge(base, { list: [3], deep: { x: { y: null }, added: {} }, a: { b: 1 } });
  assert.deepEqual(merged, { a: { b: 1 }, list: [3], deep: { x: { y: null, z: 2 }, kept: true, added: {} } });
  assert.deepEqual(base, { a: 1, list: [1, 2], deep: { x: { y: 1, z: 2 }, kept: true } }, "the base is untouched");
  assert.deepEqual(merge({ deep: { x: 1 } }, { deep: 2 }), { deep: 2 });
  assert.deepEqual(Object.keys(merge({ b: 1, a: 1 }, { a: 2, c: 3 })), ["b", "a", "c"], "the order is kept");
});

test("YAML holds what looks like something else as text, in long lines too", () => {
  const value = { yes: "no", n: "0x10", d: "2024-01-01", t: "a: b # c", long: "x ".repeat(200), empty: "", s: " lead" };
  assert.deepEqual(parse(yaml(value)), value);
  assert.deepEqual(parse(yaml(value), { version: "1.1" }), value, "Kubernetes reads YAML 1.1");
  const twice = { p: 1 };
  assert.ok(!yaml({ a: twice, b: twice }).includes("&"), "no anchors");
});
