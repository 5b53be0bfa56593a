/** The report of `npm run preflight`: real SSH to real servers on this machine, which say what hosts would. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createServer } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { ClusterSpec, HostSpec } from "../../components/spec.ts";
import { checkHosts, describeReports } from "../../preflight/check.ts";
import { trial } from "../figures.ts";
import { type KeyPair, makeKey, run, Sshd } from "../plugin/sshd.ts";
import { devConfig, directory, key, projectDirectory, specOf } from "./clusters.ts";

const user = userInfo().username;
const servers: Sshd[] = [];
after(() => servers.forEach((server) => void server.stop()));

/** A server that lets this key in. */
async function server(name: string, client: KeyPair): Promise<Sshd> {
  const started = await Sshd.start(join(directory, name), [client]);
  servers.push(started);
  return started;
}

/** The client's key, for which the server runs a command instead of what it is asked for. */
const saying = (command: string): KeyPair => ({
  ...key,
  publicKey: `command="cat >/dev/null; ${command.replaceAll('"', '\\"')}" ${key.publicKey}`,
});

const typeAndKey = (pair: KeyPair) => pair.publicKey.split(" ").slice(0, 2).join(" ");

/** The cluster of stack dev with these hosts. */
function clusterOf(hosts: readonly { name: string; port: number; hostKey: string }[]): ClusterSpec {
  const spec = specOf(devConfig());
  const [like] = spec.hosts;
  assert.ok(like);
  return {
    ...spec,
    ssh: { ...spec.ssh, dialTimeoutSeconds: 1 },
    hosts: hosts.map((host): HostSpec => ({ ...like, ...host, user, address: "127.0.0.1" })),
  };
}

const at = async (name: string, client: KeyPair) => {
  const { port, hostKey } = await server(name, client);
  return { name, port, hostKey: typeAndKey(hostKey) };
};

test("a host that cannot be asked is one problem, and hides no other's", () =>
  trial("faults", async () => {
    const stranger = await makeKey(join(directory, "stranger"));
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const address = silent.address();
    assert.ok(address && typeof address === "object");
    const changed = await at("changed", key);
    const fingerprintOf = async (path: string) => (await run("ssh-keygen", ["-lf", path])).stdout.split(" ")[1];
    const [fingerprint, pinned] = await Promise.all(
      [join(directory, "changed/host_key.pub"), `${stranger.path}.pub`].map(fingerprintOf),
    );
    // Nobody's: a port that was free a moment ago may be another server's now.
    const down = 1;
    const cluster = clusterOf([
      await at("good", saying("echo ready aaaaaaaaaaaaaaaa -")),
      { name: "down", port: down, hostKey: typeAndKey(stranger) },
      { name: "silent", port: address.port, hostKey: typeAndKey(stranger) },
      { ...changed, hostKey: typeAndKey(stranger) },
      await at("closed", stranger),
      await at("nosudo", saying("echo sudo: a password is required >&2; exit 1")),
      await at("copy", saying("echo ready aaaaaaaaaaaaaaaa -")),
    ]);
    const report = describeReports(await checkHosts(cluster, "c0ffee00"));
    silent.close();
    const reachable =
      "see that the host is on, that sshd runs and no firewall is in between; correct address, port or ssh.jump";
    assert.equal(
      // Some versions of OpenSSH say it once more.
      report.replace(`; Connection to 127.0.0.1 port ${address.port} timed out`, ""),
      `good (127.0.0.1): ready
down (127.0.0.1): 1 problem
  SSH
    got:      ssh: connect to host 127.0.0.1 port ${down}: Connection refused
    expected: a session at 127.0.0.1:${down}
    remedy:   ${reachable}
silent (127.0.0.1): 1 problem
  SSH
    got:      Connection timed out during banner exchange
    expected: a session at 127.0.0.1:${address.port}
    remedy:   ${reachable}
changed (127.0.0.1): 1 problem
  host key
    got:      ${fingerprint}
    expected: ssh-ed25519 ${pinned}, which is pinned
    remedy:   find out why (the host was installed anew, or it is another machine), compare with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the host's console, then pin the new key for 127.0.0.1
closed (127.0.0.1): 1 problem
  login
    got:      ${user}@127.0.0.1: Permission denied (publickey,password).
    expected: a session as ${user}
    remedy:   put the key's public half into ~${user}/.ssh/authorized_keys on the host, or correct user, ssh.privateKeyFile and ssh.privateKeyPassword
nosudo (127.0.0.1): 1 problem
  sudo
    got:      sudo: a password is required
    expected: that ${user} may run commands as root without a password
    remedy:   allow it ('${user} ALL=(ALL) NOPASSWD: ALL' in /etc/sudoers.d), or set user to root
copy (127.0.0.1): 1 problem
  machine-id of copy (127.0.0.1)
    got:      that of good (127.0.0.1)
    expected: one of its own
    remedy:   name each machine once in plainkube:hosts; where one is a copy, give it an id of its own (rm -f /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot; a DHCP server may then give it another address)
6 problems on 6 of 7 hosts; nothing was changed. Correct them, then run this again, or 'pulumi up'.`,
    );
  }));

test("problems and warnings of a host are its own, and show as text", async () => {
  const entry = (what: string) => `  ${what}\\n    got:      1\\033[31m\\n    expected: 2\\n    remedy:   3\\n`;
  const said = `plainkube: host x is not ready\\n${entry("warning: w")}${entry("p")}Correct them.\\n`;
  const cluster = clusterOf([
    await at("odd", saying(`printf '${said}' >&2; exit 1`)),
    await at("warned", saying(`printf '${entry("warning: w")}' >&2; echo ready - -`)),
  ]);
  const shown = (what: string) => `  ${what}\n    got:      1 [31m\n    expected: 2\n    remedy:   3`;
  assert.equal(
    describeReports(await checkHosts(cluster, "")),
    `odd (127.0.0.1): 1 problem, 1 warning
${shown("p")}
${shown("warning: w")}
warned (127.0.0.1): ready, 1 warning
${shown("warning: w")}
1 problem on 1 of 2 hosts; nothing was changed. Correct them, then run this again, or 'pulumi up'. 2 warnings.`,
  );
  const warned = clusterOf(cluster.hosts.slice(1).map(({ name, port, hostKey }) => ({ name, port, hostKey })));
  assert.match(describeReports(await checkHosts(warned, "")), /\n1 host ready\. 1 warning\.$/);
});

test("a wrong option is refused with the right ones", () =>
  trial("badInputs", () => {
    const main = join(projectDirectory, "preflight/main.ts");
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, "--stak", "dev"], { encoding: "utf8" });
    assert.deepEqual([status, stdout], [1, ""]);
    assert.match(
      stderr,
      /^plainkube: Unknown option '--stak'.*; expected what follows\.\nnpm run preflight \[-- OPTION…\]: /,
    );
  }));
