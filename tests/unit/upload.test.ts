/** The sender of binaries, with a stand-in for ssh. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { upload } from "../../components/binaries/upload.ts";
import { clusterLayout } from "../../components/paths.ts";
import { directory } from "./clusters.ts";

/** Sends nothing to a host whose ssh is this script. */
async function sendBy(script: string): Promise<number> {
  const folder = mkdtempSync(join(directory, "ssh-"));
  writeFileSync(join(folder, "ssh"), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, "ssh"), 0o755);
  const { PATH, PLAINKUBE_CACHE } = process.env;
  process.env.PATH = `${folder}:${PATH}`;
  process.env.PLAINKUBE_CACHE = folder;
  mkdirSync(join(folder, "blobs"));
  writeFileSync(join(folder, "blobs", "large"), "");
  truncateSync(join(folder, "blobs", "large"), 20 << 20);
  const endpoint = { host: "192.0.2.1", port: 22, user: "root", hostKey: "ssh-ed25519 AAAA" };
  const order = { endpoint, dialAttempts: 1, dialTimeoutSeconds: 1, layout: clusterLayout };
  try {
    return await upload(order, [], { source: "directory", directory, checksums: {} }, "");
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

test("a connection that is lost on the way is told as that", { timeout: 20_000 }, async () => {
  const lost = sendBy("echo need large; echo send; head -c 100000 >/dev/null; exit 255");
  await assert.rejects(lost, /no SSH connection could be made, or it was lost/);
});

test("what cannot be read here is told as that", { timeout: 20_000 }, async () => {
  const missing = sendBy("echo need none; echo send; cat >/dev/null; exit 1");
  await assert.rejects(missing, /binaries could not be read on this machine: .*none.*No such file/);
});

test("a host that has it all is sent nothing", { timeout: 20_000 }, async () => {
  assert.equal(await sendBy("echo send; exit 0"), 0);
});
