/** The script that takes binaries from standard input, run for real on files. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { buildRecipe, hostArch, recipe } from "../../toolchain/modules.ts";
import { directory, projectDirectory } from "./clusters.ts";

const script = readFileSync(join(projectDirectory, "components/binaries/receive.sh"), "utf8");
const store = "/opt/plainkube/store";
const sha = (content: string) => createHash("sha256").update(content).digest("hex");

const built = await buildRecipe(recipe("plainkube-receive"), { arch: hostArch(), log: () => {} });
const program = readFileSync(built["plainkube-receive"]?.path ?? "");
const receiver = gzipSync(program);

/** What the sender sends: the program that takes contents, and each content compressed by itself. */
const sending = (...contents: readonly string[]): Buffer =>
  Buffer.concat([receiver, ...contents.map((text) => zstdCompressSync(text))]);

/** A host that is prepared, of which /opt and /var/lib are real. */
class Receiver {
  readonly #root = mkdtempSync(join(directory, "receiver-"));

  constructor() {
    for (const path of ["opt/plainkube/store", "lib/plainkube/state"])
      mkdirSync(join(this.#root, path), { recursive: true });
  }

  at(path: string): string {
    return join(this.#root, path.replace(/^\/var\/lib/, "/lib"));
  }

  /** What lies in the store, hidden files included. */
  get stored(): string[] {
    return readdirSync(this.at(store)).sort();
  }

  /** Receives files by name; `sent` is what comes instead of them, `before` a command that runs first. */
  run(
    files: Readonly<Record<string, string>>,
    { sent = sending(...Object.values(files)), before = ":" }: { sent?: Buffer; before?: string } = {},
  ) {
    const entries = Object.entries(files).map(
      ([name, text]) => `${sha(text)} ${Buffer.byteLength(text)} /opt/plainkube/bin/${name}`,
    );
    const facts = [
      `now=${Math.floor(Date.now() / 1000)}`,
      "opt=/opt/plainkube",
      `store=${store}`,
      `receiver_size=${receiver.length}`,
      `receiver_sha=${createHash("sha256").update(program).digest("hex")}`,
      `entries='${entries.join("\n")}'`,
    ];
    const enter = `mount --bind '${this.at("/opt")}' /opt && mount --bind '${this.at("/var/lib")}' /var/lib && ${before} && exec bash -c "$1"`;
    const user = process.getuid?.() === 0 ? [] : ["--map-root-user"];
    const { status, stdout, stderr, error } = spawnSync(
      "unshare",
      ["--mount", ...user, "sh", "-c", enter, "sh", [...facts, script].join("\n")],
      { input: sent, encoding: "utf8", timeout: 30_000 },
    );
    // It may end before it has read all.
    if (error && (error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
    return { status, stdout, stderr };
  }
}

test("files are stored under their SHA-256, linked by name, and noted as verified; what is there is not asked for again", () => {
  const host = new Receiver();
  const files = { one: "first", two: "second" };
  const { status, stdout, stderr } = host.run(files);
  assert.deepEqual([status, stderr], [0, ""]);
  assert.equal(stdout, `need ${sha("first")}\nneed ${sha("second")}\nsend\nreceived 2\n`);
  assert.deepEqual(host.stored, [sha("first"), sha("second")].sort());
  assert.equal(readlinkSync(host.at("/opt/plainkube/bin/one")), `${store}/${sha("first")}`);
  const { ino, size } = statSync(host.at(`${store}/${sha("second")}`));
  const noted = readFileSync(host.at("/var/lib/plainkube/state/verified"), "utf8");
  assert.ok(noted.includes(`${store}/${sha("second")} ${ino} ${size} `), noted);
  assert.equal(host.run(files, { sent: Buffer.from("") }).stdout, "send\nreceived 0\n");
});

test("one that is not what it should be is named for the sender, and not kept", () => {
  const host = new Receiver();
  const { status, stdout, stderr } = host.run({ one: "first" }, { sent: sending("fIrst") });
  assert.notEqual(status, 0);
  assert.match(stdout, new RegExp(`^damaged ${sha("first")}$`, "m"));
  assert.match(
    stderr,
    new RegExp(
      `^plainkube: SHA-256 ${sha("fIrst")} arrived on \\S+; expected ${sha("first")}\\. It was not kept\\.$`,
      "m",
    ),
  );
  assert.deepEqual(host.stored, []);
  assert.equal(existsSync(host.at("/opt/plainkube/bin/one")), false);
});

test("one that breaks off is not kept, those before it are", () => {
  const host = new Receiver();
  const { status, stderr } = host.run(
    { one: "first", two: "second" },
    { sent: sending("first", "second").subarray(0, -3) },
  );
  assert.notEqual(status, 0);
  assert.match(
    stderr,
    /^plainkube: got \d of 6 bytes of \S+ on \S+: the connection was cut\. Run 'pulumi up' again: what has arrived is kept\.$/m,
  );
  assert.deepEqual(host.stored, [sha("first")]);
});

test("an end without all that was asked for is told as a cut", () => {
  const host = new Receiver();
  const { status, stderr } = host.run({ one: "first", two: "second" }, { sent: sending("first") });
  assert.notEqual(status, 0);
  assert.match(
    stderr,
    new RegExp(`^plainkube: got 0 of 6 bytes of ${sha("second")} on \\S+: the connection was cut\\.`, "m"),
  );
  assert.deepEqual(host.stored, [sha("first")]);
});

test("a full disk is named with what is free and what is needed", () => {
  const host = new Receiver();
  const before = `mount -t tmpfs -o size=64k tmpfs ${store}`;
  const { status, stderr } = host.run({ one: "x".repeat(3 << 20) }, { before });
  assert.notEqual(status, 0);
  assert.match(
    stderr,
    /^plainkube: cannot write to \/opt\/plainkube\/store on \S+: 0 MiB are free there\. Free 4 MiB for what is missing, then run/m,
  );
});

test("a disk that fills up on the way is named with what is free and what is needed, too", () => {
  const host = new Receiver();
  const before = `mount -t tmpfs -o size=8m tmpfs ${store}`;
  const { status, stderr } = host.run({ one: "first", two: "x".repeat(20 << 20) }, { before });
  assert.notEqual(status, 0);
  assert.match(
    stderr,
    /^plainkube: cannot write to \/opt\/plainkube\/store on \S+: 0 MiB are free there\. Free 21 MiB/m,
  );
});

test("a cut while what takes contents is on its way is told as that", () => {
  const host = new Receiver();
  const { status, stdout, stderr } = host.run({ one: "first" }, { sent: receiver.subarray(0, 1000) });
  assert.notEqual(status, 0);
  assert.match(stderr, /^plainkube: what takes binaries did not arrive whole on \S+: the connection was cut, or/m);
  assert.match(stdout, /^damaged [0-9a-f]{64}$/m, "the sender looks at its own, too");
  assert.deepEqual(host.stored, []);
});

test("a file system without programs is named", () => {
  const host = new Receiver();
  const before = `mount -t tmpfs -o noexec,size=64m tmpfs ${store}`;
  const { status, stderr } = host.run({ one: "first" }, { before });
  assert.notEqual(status, 0);
  assert.match(
    stderr,
    /^plainkube: no program can be run in \/opt\/plainkube\/store on \S+\. Mount that file system without noexec/m,
  );
});

test("what a run that was cut off left half is removed, unless it still receives", () => {
  const host = new Receiver();
  for (const name of [".part-dead", ".part-live"]) {
    mkdirSync(host.at(`${store}/${name}`));
    writeFileSync(host.at(`${store}/${name}/x`), "half");
  }
  const { status } = host.run({ one: "first" }, { before: `exec 7<${store}/.part-live && flock 7` });
  assert.equal(status, 0);
  assert.deepEqual(host.stored, [".part-live", sha("first")].sort());
});
