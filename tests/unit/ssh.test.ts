/** How a script reaches a host by OpenSSH, with a real server on this machine. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type SshCommand, type SshTarget, withSsh } from "../../components/host/ssh.ts";
import { run } from "../../lab/shell.ts";
import { type KeyPair, makeKey, Sshd } from "../plugin/sshd.ts";
import { directory } from "./clusters.ts";

const targetOf = (sshd: Sshd, key: KeyPair): SshTarget => ({
  endpoint: {
    host: "127.0.0.1",
    port: sshd.port,
    user: userInfo().username,
    hostKey: sshd.hostKey.publicKey.split(" ").slice(0, 2).join(" "),
  },
  privateKeyFile: key.path,
  dialAttempts: 1,
  dialTimeoutSeconds: 5,
});

test("a key is used wherever it lies, with and without a passphrase", async () => {
  const folder = join(directory, `100% "my" \${HOME} %h; touch x`);
  await mkdir(folder);
  const keys = [await makeKey(join(folder, "plain"), ""), await makeKey(join(folder, "encrypted"), "a passphrase")];
  const sshd = await Sshd.start(join(directory, "sshd"), keys);
  try {
    for (const key of keys) {
      const target = targetOf(sshd, key);
      const { code, stdout, stderr } = await withSsh(target, "a passphrase", "echo reached", ({ program, args, env }) =>
        run([program, ...args], { env }),
      );
      assert.deepEqual([code, stdout], [0, "reached\n"], stderr);
    }
  } finally {
    sshd.stop();
  }
});

test("what is public goes by a cheap key exchange, where the host has one; all else by OpenSSH's first choice", async () => {
  const folder = join(directory, "exchanges");
  await mkdir(folder);
  const key = await makeKey(join(folder, "key"), "");
  const exchange = async (sshd: Sshd, isPublic: boolean): Promise<string | undefined> => {
    const use = ({ program, args, env }: SshCommand) => run([program, "-o", "LogLevel=DEBUG1", ...args], { env });
    const { code, stderr } = await withSsh(targetOf(sshd, key), "", "true", use, { isPublic });
    assert.equal(code, 0, stderr);
    return /kex: algorithm: (\S+)/.exec(stderr)?.[1];
  };
  const first = /^kexalgorithms ([^,\n]+)/m.exec((await run(["ssh", "-G", "-F", "none", "host"])).stdout)?.[1];
  const known = (await run(["ssh", "-Q", "kex"])).stdout.split("\n");
  const cheapest = ["mlkem768x25519-sha256", "curve25519-sha256"].find((name) => known.includes(name));
  const all = await Sshd.start(join(folder, "all"), [key]);
  const one = await Sshd.start(join(folder, "one"), [key], "ed25519", [`KexAlgorithms ${first}`]);
  try {
    assert.deepEqual([await exchange(all, true), await exchange(all, false)], [cheapest, first]);
    assert.deepEqual([await exchange(one, true), await exchange(one, false)], [first, first]);
  } finally {
    all.stop();
    one.stop();
  }
});
