/** Which host key is pinned, from real files of ssh-keygen. That a wrong key is refused on dialling is tested elsewhere. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ConfigError } from "../../components/spec.ts";
import { makeKey, run } from "../plugin/sshd.ts";
import { directory, specOf } from "./clusters.ts";

const types = ["ed25519", "ecdsa", "rsa"] as const;
const keys = Object.fromEntries(
  await Promise.all(
    types.map(async (type) => {
      const { publicKey } = await makeKey(join(directory, `host-${type}`), "", type);
      return [type, publicKey.split(" ").slice(0, 2).join(" ")] as const;
    }),
  ),
) as Record<(typeof types)[number], string>;
const other = (await makeKey(join(directory, "other"))).publicKey.split(" ").slice(0, 2).join(" ");

let files = 0;
async function knownHosts(...lines: string[]): Promise<string> {
  const file = join(directory, `known-hosts-${files++}`);
  await writeFile(file, lines.map((line) => `${line}\n`).join(""));
  return file;
}

/** The key found for 192.0.2.7, or undefined if it is refused for want of one. */
function pinned(knownHostsFile: string, host: { port?: number; hostKey?: string } = {}): string | undefined {
  const hosts = [{ name: "a", address: "192.0.2.7", roles: ["control-plane", "worker"], ...host }];
  try {
    return specOf({ hosts, ssh: { knownHostsFile, privateKeyFile: join(directory, "id_ed25519") } }).hosts[0]?.hostKey;
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    assert.deepEqual(
      error.problems.map((p) => p.what),
      ["plainkube:hosts[0] (a) has no pinned host key"],
    );
    return undefined;
  }
}

test("a plain line", async () => {
  assert.equal(pinned(await knownHosts("# a comment", `192.0.2.7 ${keys.rsa} root@host`)), keys.rsa);
  assert.equal(pinned(await knownHosts(`name.example.com,192.0.2.7\t${keys.ecdsa.replace(" ", "\t")}`)), keys.ecdsa);
});

test("ed25519 goes before all others, wherever it stands", async () => {
  const file = await knownHosts(...["rsa", "ecdsa", "ed25519"].map((t) => `192.0.2.7 ${keys[t as "rsa"]}`));
  assert.equal(pinned(file), keys.ed25519);
});

test("hashed names", async () => {
  const file = await knownHosts(`192.0.2.7 ${keys.ed25519}`, `[192.0.2.7]:2222 ${keys.rsa}`, `192.0.2.8 ${other}`);
  await run("ssh-keygen", ["-H", "-f", file]);
  assert.equal(pinned(file), keys.ed25519);
  assert.equal(pinned(file, { port: 2222 }), keys.rsa);
});

test("another port is another host", async () => {
  const file = await knownHosts(`192.0.2.7 ${keys.ed25519}`, `[192.0.2.7]:2222 ${other}`);
  assert.equal(pinned(file, { port: 2222 }), other);
  assert.equal(pinned(file, { port: 2223 }), undefined);
});

test("the configuration goes before the file", async () => {
  assert.equal(pinned(await knownHosts(`192.0.2.7 ${keys.ed25519}`), { hostKey: other }), other);
});

test("what pins nothing", async () => {
  assert.equal(pinned(join(directory, "not-there")), undefined, "no file");
  assert.equal(pinned(directory), undefined, "a folder");
  assert.equal(pinned(await knownHosts(`192.0.2.70 ${keys.ed25519}`)), undefined, "an address that only begins so");
  assert.equal(pinned(await knownHosts(`@cert-authority 192.0.2.7 ${keys.ed25519}`)), undefined, "an authority");
  assert.equal(pinned(await knownHosts(`192.0.2.7 ${keys.ed25519.slice(0, -9)}`)), undefined, "half a key");
  assert.equal(pinned(await knownHosts("192.0.2.7 1024 65537 123456789")), undefined, "a key of SSH 1");
});

test("a revoked key is not taken", async () => {
  const revoked = `@revoked * ${keys.ed25519}`;
  assert.equal(pinned(await knownHosts(revoked, `192.0.2.7 ${keys.ed25519}`)), undefined);
  assert.equal(pinned(await knownHosts(`192.0.2.7 ${keys.ed25519}`, revoked, `192.0.2.7 ${keys.rsa}`)), keys.rsa);
});
