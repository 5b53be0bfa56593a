/** How a script reaches a host by OpenSSH, with a real server on this machine. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { withSsh } from "../../components/host/ssh.ts";
import { run } from "../../lab/shell.ts";
import { makeKey, Sshd } from "../plugin/sshd.ts";
import { directory } from "./clusters.ts";

test("a key is used wherever it lies, with and without a passphrase", async () => {
  const folder = join(directory, `100% "my" \${HOME} %h; touch x`);
  await mkdir(folder);
  const keys = [await makeKey(join(folder, "plain"), ""), await makeKey(join(folder, "encrypted"), "a passphrase")];
  const sshd = await Sshd.start(join(directory, "sshd"), keys);
  try {
    for (const key of keys) {
      const endpoint = {
        host: "127.0.0.1",
        port: sshd.port,
        user: userInfo().username,
        hostKey: sshd.hostKey.publicKey.split(" ").slice(0, 2).join(" "),
      };
      const target = { endpoint, privateKeyFile: key.path, dialAttempts: 1, dialTimeoutSeconds: 5 };
      const { code, stdout, stderr } = await withSsh(target, "a passphrase", "echo reached", ({ program, args, env }) =>
        run([program, ...args], { env }),
      );
      assert.deepEqual([code, stdout], [0, "reached\n"], stderr);
    }
  } finally {
    sshd.stop();
  }
});
