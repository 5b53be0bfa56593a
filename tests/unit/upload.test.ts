/** The sender of binaries, with a stand-in for ssh. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
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
  const { PATH } = process.env;
  process.env.PATH = `${folder}:${PATH}`;
  const endpoint = { host: "192.0.2.1", port: 22, user: "root", hostKey: "ssh-ed25519 AAAA" };
  const order = { endpoint, dialAttempts: 1, dialTimeoutSeconds: 1, layout: clusterLayout };
  try {
    return await upload(order, [], { source: "directory", directory, checksums: {} }, "");
  } finally {
    process.env.PATH = PATH;
  }
}

test("an end before anything was asked for is told at once", { timeout: 20_000 }, async () => {
  await assert.rejects(
    sendBy("exit 255"),
    /sending binaries to root@192\.0\.2\.1:22 failed: no SSH connection could be made/,
  );
  await assert.rejects(sendBy("echo it is full >&2; exit 3"), /failed \(ssh ended with 3\)/);
});

test("a host that has it all is sent nothing", { timeout: 20_000 }, async () => {
  assert.equal(await sendBy("echo send; exit 0"), 0);
});
