/** The sender of binaries, with a stand-in for ssh. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { readyToSend } from "../../components/binaries/obtain.ts";
import { pinsFor } from "../../components/binaries/pins.ts";
import { upload } from "../../components/binaries/upload.ts";
import { clusterLayout } from "../../components/paths.ts";
import { supportedVersions } from "../../components/versions.ts";
import { directory } from "./clusters.ts";

/** What a program for a host begins with. */
const elf = Buffer.from("7f454c4602010100000000000000000002003e00", "hex");
const shaOf = (content: string | Buffer) => createHash("sha256").update(content).digest("hex");

/** Sends to a host whose ssh is this script, which has a folder of its own: nothing, or one program with this content. */
async function sendBy(
  script: string,
  content?: string | Buffer,
  folder = mkdtempSync(join(directory, "ssh-")),
): Promise<number> {
  writeFileSync(join(folder, "ssh"), `#!/bin/sh\nif [ "$1" = -Q ]; then exit; fi\n${script}\n`);
  chmodSync(join(folder, "ssh"), 0o755);
  const { PATH, PLAINKUBE_CACHE } = process.env;
  process.env.PATH = `${folder}:${PATH}`;
  process.env.PLAINKUBE_CACHE = folder;
  mkdirSync(join(folder, "blobs"), { recursive: true });
  writeFileSync(join(folder, "plainkube-receive"), elf);
  const endpoint = { host: "192.0.2.1", port: 22, user: "root", hostKey: "ssh-ed25519 AAAA" };
  const order = { endpoint, dialAttempts: 1, dialTimeoutSeconds: 1, layout: clusterLayout };
  const settings = { source: "directory", directory: folder, checksums: {} } as const;
  if (content !== undefined) writeFileSync(join(folder, "runc"), content);
  const versions = Object.values(supportedVersions)[0] ?? assert.fail();
  try {
    return await upload(
      order,
      pinsFor(content === undefined ? [] : ["runc"], versions, "amd64", settings),
      settings,
      "",
    );
  } finally {
    process.env.PATH = PATH;
    if (PLAINKUBE_CACHE === undefined) delete process.env.PLAINKUBE_CACHE;
    else process.env.PLAINKUBE_CACHE = PLAINKUBE_CACHE;
  }
}

test("an end before anything was asked for is told at once", { timeout: 20_000 }, async () => {
  await assert.rejects(
    sendBy("exit 255"),
    /sending binaries to root@192\.0\.2\.1:22 failed: no SSH connection could be made/,
  );
  await assert.rejects(sendBy("echo it is full >&2; exit 3"), /failed \(ssh ended with 3\)/);
});

test("a connection that is lost on the way is told as that, whatever has arrived", { timeout: 20_000 }, async () => {
  const content = randomBytes(20 << 20);
  for (const said of ["", `echo damaged ${shaOf(content)};`]) {
    const lost = sendBy(`echo need ${shaOf(content)}; echo send; head -c 100000 >/dev/null; ${said} exit 255`, content);
    await assert.rejects(lost, /no SSH connection could be made, or it was lost/);
  }
});

test("a host that fails before it has read all is not taken for this machine", { timeout: 20_000 }, async () => {
  const content = randomBytes(20 << 20);
  process.env.LC_ALL = "de_DE.UTF-8";
  const failing = sendBy(`echo need ${shaOf(content)}; echo send; head -c 100000 >/dev/null; exit 1`, content);
  await assert.rejects(failing, /failed \(ssh ended with 1\); its message stands above/);
  delete process.env.LC_ALL;
});

test("what cannot be read here is told as that", { timeout: 20_000 }, async () => {
  const folder = mkdtempSync(join(directory, "ssh-"));
  const script = `rm ${folder}/blobs/*.zst; echo need ${shaOf("a")}; echo send; cat >/dev/null; exit 1`;
  await assert.rejects(
    sendBy(script, "a", folder),
    /binaries could not be read on this machine: .*\.zst: No such file/,
  );
});

test("a host gets what it is offered, and no other file", { timeout: 20_000 }, async () => {
  for (const wanted of ["/etc/hostname x", "../plainkube-receive", "0".repeat(64)]) {
    const folder = mkdtempSync(join(directory, "ssh-"));
    const greedy = sendBy(`echo "need ${wanted}"; echo send; cat >${folder}/got; exit 0`, "a", folder);
    await assert.rejects(greedy, /root@192\.0\.2\.1:22 asked for .*, which is none of its binaries; nothing was sent/);
    assert.equal(existsSync(join(folder, "got")) ? readFileSync(join(folder, "got"), "utf8") : "", "");
  }
});

test("a host that has it all is sent nothing", { timeout: 20_000 }, async () => {
  assert.equal(await sendBy("echo send; exit 0"), 0);
});

test("a compressed file that is damaged in the cache is made anew, and sent again", { timeout: 20_000 }, async () => {
  const folder = mkdtempSync(join(directory, "ssh-"));
  const sha256 = shaOf("a program\n");
  const cached = join(folder, "blobs", `${sha256}.zst`);
  // What has arrived the first time is kept, and damaged in the cache after it; then a host finds it out.
  const script = `echo need ${sha256}; echo send; cat >${folder}/sent; tail -c +$((1 + $(stat -c %s ${folder}/blobs/*.gz))) ${folder}/sent | ${process.execPath} -e 'process.stdout.write(require("zlib").zstdDecompressSync(require("fs").readFileSync(0)))' >${folder}/got
    if grep -q "^a program$" ${folder}/got; then exit 0; fi
    echo damaged ${sha256}; exit 1`;
  mkdirSync(join(folder, "blobs"));
  writeFileSync(cached, zstdCompressSync("a pr0gram\n"));
  assert.equal(await sendBy(script, "a program\n", folder), 1);
  assert.deepEqual(zstdDecompressSync(readFileSync(cached)).toString(), "a program\n");
  assert.equal(readFileSync(join(folder, "got"), "utf8"), "a program\n");
});

test("a content that never arrives as it is told with what to look at", { timeout: 20_000 }, async () => {
  const sha256 = shaOf("a program\n");
  const script = `echo need ${sha256}; echo send; cat >/dev/null; echo damaged ${sha256}; exit 1`;
  await assert.rejects(
    sendBy(script, "a program\n"),
    /^Error: runc arrived on root@192\.0\.2\.1:22 with another content than \S+ has/,
  );
});

test("a program that takes binaries and is damaged in the cache is made anew, a truncated binary too", {
  timeout: 20_000,
}, async () => {
  for (const format of ["gz", "zst"]) {
    const folder = mkdtempSync(join(directory, "ssh-"));
    const sha256 = format === "gz" ? shaOf(elf) : shaOf("a program\n");
    // As the host tells it, the first time.
    const script = `echo need ${shaOf("a program\n")}; echo send; cat >/dev/null
      if [ -e ${folder}/told ]; then exit 0; fi; touch ${folder}/told; echo damaged ${sha256}; exit 1`;
    mkdirSync(join(folder, "blobs"));
    writeFileSync(join(folder, "blobs", `${sha256}.${format}`), "damaged");
    assert.equal(await sendBy(script, "a program\n", folder), 1);
    assert.notEqual(readFileSync(join(folder, "blobs", `${sha256}.${format}`), "utf8"), "damaged");
  }
});

test("what another upload has made anew meanwhile is left alone", { timeout: 20_000 }, async () => {
  const folder = mkdtempSync(join(directory, "ssh-"));
  const cached = join(folder, "blobs", `${shaOf("a program\n")}.zst`);
  const script = `echo need ${shaOf("a program\n")}; echo send; cat >/dev/null
    if [ -e ${folder}/told ]; then exit 0; fi; touch ${folder}/told; echo by another >${cached}.new; mv ${cached}.new ${cached}
    echo damaged ${shaOf("a program\n")}; exit 1`;
  assert.equal(await sendBy(script, "a program\n", folder), 1);
  assert.equal(readFileSync(cached, "utf8"), "by another\n");
});

test("what takes binaries has to be a program for the host", { timeout: 20_000 }, async () => {
  const arm = Buffer.from(elf);
  arm.writeUInt16LE(183, 18);
  for (const [content, got] of [
    [arm, "arm64"],
    [Buffer.from("#!/bin/sh\n"), "another architecture"],
  ] as const) {
    const folder = mkdtempSync(join(directory, "ssh-"));
    writeFileSync(join(folder, "plainkube-receive"), content);
    const settings = { source: "directory", directory: folder, checksums: {} } as const;
    await assert.rejects(
      readyToSend([], settings, () => {}),
      new RegExp(`plainkube-receive: got a program for ${got}, expected amd64; put the right file there`),
    );
  }
});
