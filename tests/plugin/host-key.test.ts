/** What the way to a host by OpenSSH says about a key that is not the pinned one, against a real sshd. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fingerprint, hostKeyProblem } from "../../components/host/host-key.ts";
import { type SshTarget, withSsh } from "../../components/host/ssh.ts";
import { run as runCommand } from "../../lab/shell.ts";
import { type KeyPair, makeKey, run, Sshd } from "./sshd.ts";

let directory: string;
let client: KeyPair;
let other: KeyPair;
const servers: Sshd[] = [];

const start = async (type?: string): Promise<Sshd> => {
  const server = await Sshd.start(join(directory, `server${servers.length}`), [client], type);
  servers.push(server);
  return server;
};

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "plainkube-host-key-"));
  client = await makeKey(join(directory, "client"));
  other = await makeKey(join(directory, "other"));
});

after(async () => {
  for (const server of servers) server.stop();
  await rm(directory, { recursive: true });
});

const pin = (key: KeyPair): string => key.publicKey.split(" ").slice(0, 2).join(" ");
const endpoint = (server: Sshd, key: KeyPair) => ({
  host: "127.0.0.1",
  port: server.port,
  user: userInfo().username,
  hostKey: pin(key),
});
const sha256 = async ({ path }: KeyPair) => (await run("ssh-keygen", ["-lf", path])).stdout.split(" ")[1] ?? "";

async function problemOf(rest: Pick<SshTarget, "endpoint" | "jump">): Promise<string | undefined> {
  const target = { ...rest, privateKeyFile: client.path, dialAttempts: 1, dialTimeoutSeconds: 5 };
  return withSsh(target, "", "true", async ({ program, args, env }) => {
    const { code, stderr } = await runCommand([program, ...args], { env });
    const problem = hostKeyProblem(target, stderr);
    assert.equal(code === 0, problem === undefined, stderr);
    return problem;
  });
}

test("the pinned key is no problem", async () => {
  const server = await start();
  assert.equal(await problemOf({ endpoint: endpoint(server, server.hostKey) }), undefined);
});

test("another key is told with both fingerprints", async () => {
  const server = await start();
  const [got, expected] = [await sha256(server.hostKey), await sha256(other)];
  assert.equal(fingerprint(pin(other)), `ssh-ed25519 ${expected}`);
  const problem = (await problemOf({ endpoint: endpoint(server, other) })) ?? "";
  const [what, gotLine, expectedLine, remedy] = problem.split("\n");
  assert.equal(what, `127.0.0.1:${server.port} has another host key than the pinned one; nothing was sent to it`);
  assert.equal(gotLine, `  got:      ED25519 ${got}`);
  assert.ok(
    expectedLine?.startsWith(`  expected: ssh-ed25519 ${expected}, as plainkube:hosts[].hostKey `),
    expectedLine,
  );
  assert.match(remedy ?? "", /If you know why the key changed .*, pin the new one there, and run 'pulumi up' again\.$/);
});

test("a key of another type is told", async () => {
  const server = await start("ecdsa");
  const problem = (await problemOf({ endpoint: endpoint(server, other) })) ?? "";
  assert.equal(problem.split("\n")[1], `  got:      ECDSA ${await sha256(server.hostKey)}`);
});

test("a jump host with another key is named instead of the host behind it", async () => {
  const [jump, server] = [await start(), await start()];
  const problem = await problemOf({ endpoint: endpoint(server, server.hostKey), jump: endpoint(jump, other) });
  assert.ok(problem?.startsWith(`127.0.0.1:${jump.port} has another host key`), problem);
});

test("a host with another key behind a jump host is named", async () => {
  const [jump, server] = [await start(), await start()];
  const problem = await problemOf({ endpoint: endpoint(server, other), jump: endpoint(jump, jump.hostKey) });
  assert.ok(problem?.startsWith(`127.0.0.1:${server.port} has another host key`), problem);
});
