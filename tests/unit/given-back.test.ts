/**
 * What preflight notes of a host and how it is set back: the scripts run for real on files of a sandbox and on the settings of a
 * network namespace of their own. Loading modules has stand-ins, since a machine's modules are not the tests' to change.
 */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { projectDirectory } from "./clusters.ts";
import { Sandbox } from "./sandbox.ts";

const givenBack = readFileSync(join(projectDirectory, "components/host/given-back.sh"), "utf8");
const containers = readFileSync(join(projectDirectory, "components/host/containers.sh"), "utf8");
const state = "/var/lib/plainkube/state";

function host(): Sandbox {
  const sandbox = new Sandbox();
  mkdirSync(sandbox.at(state), { recursive: true });
  // Its program is named in /etc.
  mkdirSync(sandbox.at("/etc/alternatives"));
  symlinkSync(realpathSync("/usr/bin/awk"), sandbox.at("/etc/alternatives/awk"));
  return sandbox;
}

/** Runs lines with the functions at hand, in a network namespace of its own, and expects them to succeed. */
function run(sandbox: Sandbox, lines: string): string {
  const script = `exec unshare --net bash -s <<'END_OF_SCRIPT'\nset -euo pipefail\n${givenBack}\n${lines}\nEND_OF_SCRIPT\n`;
  const { status, stdout, stderr } = sandbox.run(script);
  assert.deepEqual([status, stderr], [0, ""]);
  return stdout;
}

const forwarding = "net.ipv4.conf.lo.forwarding net.ipv4.conf.all.accept_redirects net.ipv4.ip_forward";
const show = `sysctl -n ${forwarding} | tr '\\n' ' '`;

for (const redirects of [0, 1]) {
  test(`what the kernel changes with ip_forward is set back with it: accept_redirects ${redirects}`, () => {
    // As on a host that forwards for one interface only.
    const out = run(
      host(),
      `sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_redirects=${redirects} net.ipv4.conf.lo.forwarding=1
       note_sysctls ${forwarding}
       sysctl -qw net.ipv4.ip_forward=1
       set_back_sysctls
       ${show}`,
    );
    assert.equal(out, `1 ${redirects} 0 `);
  });
}

test("a host that forwarded keeps what was changed on it since", () => {
  const out = run(
    host(),
    `sysctl -qw net.ipv4.ip_forward=1
     note_sysctls ${forwarding}
     sysctl -qw net.ipv4.conf.all.accept_redirects=1 net.ipv4.conf.lo.forwarding=0
     set_back_sysctls
     ${show}`,
  );
  assert.equal(out, "0 1 1 ");
});

test("a redirect that was allowed after us stays allowed", () => {
  const out = run(
    host(),
    `sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_redirects=0
     note_sysctls ${forwarding}
     sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.accept_redirects=1
     set_back_sysctls
     ${show}`,
  );
  assert.equal(out, "0 1 0 ");
});

test("a value is set back where it is the one that we gave, and no other", () => {
  const key = "net.ipv4.conf.all.route_localnet";
  const lines = (later: number) => `sysctl -qw ${key}=0; note_sysctls ${key}; note_sysctls ${key}
     sysctl -qw ${key}=${later}; set_back_sysctls; sysctl -n ${key}`;
  const sandbox = host();
  assert.equal(run(sandbox, lines(1)), "0\n");
  assert.equal(sandbox.read(`${state}/sysctl.before`), `${key} = 0\n`, "noted once");
  assert.equal(run(host(), lines(2)), "2\n");
});

const limit = "net.netfilter.nf_conntrack_tcp_timeout_established";
const conntrack: Record<string, { config?: string; left: string }> = {
  "stays where kube-proxy leaves conntrack alone": {
    config:
      "conntrack:\n  maxPerCore: 0\n  min: 0\n  tcpCloseWaitTimeout: 0s\n  tcpEstablishedTimeout: 0s\nmode: nftables\n",
    left: "300\n",
  },
  "is set back where kube-proxy was told to set it": {
    config: "conntrack:\n  maxPerCore: 0\n  tcpEstablishedTimeout: 300s\nmode: nftables\n",
    left: "7200\n",
  },
  "is set back where kube-proxy has its defaults": { left: "7200\n" },
};
for (const [name, { config, left }] of Object.entries(conntrack)) {
  test(`a limit of conntrack ${name}`, () => {
    const sandbox = host();
    if (config !== undefined) {
      mkdirSync(sandbox.at("/etc/plainkube"));
      writeFileSync(sandbox.at("/etc/plainkube/kube-proxy.yaml"), config);
    }
    const lines = `sysctl -qw ${limit}=7200; note_sysctls ${limit}; sysctl -qw ${limit}=300; set_back_sysctls; sysctl -n ${limit}`;
    assert.equal(run(sandbox, lines), left);
  });
}

/** Modules that a stand-in for modprobe has loaded; it takes every module. */
function withModprobe(sandbox: Sandbox): Sandbox {
  const loaded = sandbox.at("/opt/loaded");
  const script = `#!/bin/bash
case "$1" in
  --dry-run) ;;
  --remove) sed -i "/^\${*: -1}$/d" ${loaded} ;;
  *) echo "\${*: -1}" >>${loaded} ;;
esac
`;
  writeFileSync(sandbox.at("/usr/local/sbin/modprobe").replace("/usr/local", ""), script, { mode: 0o755 });
  writeFileSync(loaded, "");
  return sandbox;
}
const load = "load_module br_netfilter /nowhere/bridge; load_module nf_conntrack /nowhere/max";

test("br_netfilter goes where we loaded it; modules that do nothing by themselves stay", () => {
  const sandbox = withModprobe(host());
  run(sandbox, `${load}; unload_modules`);
  assert.equal(sandbox.read("/opt/loaded"), "nf_conntrack\n");
});

test("br_netfilter stays where a bridge of another may count on it, and where it was loaded before", () => {
  const sandbox = withModprobe(host());
  run(sandbox, `${load}; ip link add other0 type bridge; unload_modules`);
  assert.equal(sandbox.read("/opt/loaded"), "br_netfilter\nnf_conntrack\n");
  const before = withModprobe(host());
  run(before, "echo br_netfilter >/opt/loaded; load_module br_netfilter /opt/loaded; unload_modules");
  assert.equal(before.read("/opt/loaded"), "br_netfilter\n");
});

test("shared folders that were there stay with their mode; those that were not go, once empty", () => {
  const sandbox = host();
  mkdirSync(sandbox.at("/var/lib/kubelet"), { mode: 0o711 });
  run(sandbox, "note_before /opt/claimed");
  for (const path of ["/opt/claimed", "/var/lib/cni/results", "/var/lib/cni/networks"])
    mkdirSync(sandbox.at(path), { recursive: true });
  writeFileSync(sandbox.at("/var/lib/cni/networks/other"), "");
  run(sandbox, "chmod 0750 /var/lib/kubelet; remove_folder /opt/claimed; remove_shared_folders");
  assert.equal(statSync(sandbox.at("/var/lib/kubelet")).mode & 0o777, 0o711);
  const there = ["/opt/claimed", "/var/lib/cni/results", "/var/lib/cni/networks"].map((p) => existsSync(sandbox.at(p)));
  assert.deepEqual(there, [false, false, true]);
});

test("a folder of volumes is given back with those that were made for it", () => {
  const sandbox = host();
  mkdirSync(sandbox.at("/opt/data"));
  mkdirSync(sandbox.at("/opt/data/a/volumes"), { recursive: true });
  mkdirSync(sandbox.at("/opt/kept"), { mode: 0o777 });
  symlinkSync("/opt/kept", sandbox.at("/opt/link"));
  run(sandbox, "give_back_volumes /opt/data/a/volumes - /opt/data/a; give_back_volumes /opt/link 0700 -");
  assert.deepEqual([existsSync(sandbox.at("/opt/data/a")), existsSync(sandbox.at("/opt/data"))], [false, true]);
  assert.equal(statSync(sandbox.at("/opt/kept")).mode & 0o777, 0o700);
});

test("a folder of volumes that is asked for no more is given back once it is empty, and ours until then", () => {
  const sandbox = host();
  for (const path of ["/opt/empty", "/opt/full", "/opt/asked"]) mkdirSync(sandbox.at(path));
  writeFileSync(sandbox.at("/opt/full/volume"), "");
  const noted = (...names: string[]) => names.map((name) => `- /opt/${name} /opt/${name}\n`).join("");
  writeFileSync(sandbox.at(`${state}/volumes`), noted("empty", "full", "asked", "gone"));
  run(sandbox, "give_back_unused_volumes /opt/asked");
  assert.equal(sandbox.read(`${state}/volumes`), noted("full", "asked"));
  assert.equal(existsSync(sandbox.at("/opt/empty")), false);
  rmSync(sandbox.at("/opt/full/volume"));
  run(sandbox, "give_back_unused_volumes -");
  assert.equal(sandbox.read(`${state}/volumes`), "");
  assert.deepEqual([existsSync(sandbox.at("/opt/full")), existsSync(sandbox.at("/opt/asked"))], [false, false]);
});

/** Runs lines with the functions of containers.sh, with mounts of its own. */
function mounted(lines: string): string {
  const paths = "containerd_run=/run/nowhere containerd_root=/var/lib/nowhere";
  return run(
    host(),
    `exec unshare --mount bash -s <<'END_OF_MOUNTS'\n${paths}\n${containers}\n${lines}\nEND_OF_MOUNTS`,
  );
}

test("nothing is unmounted for a folder that is not there, or for the root", () => {
  const out = mounted(`mount -t tmpfs none /srv
before=$(wc -l </proc/self/mounts)
unmount /no/such/folder; unmount /var/lib/cni/networks/plainkube; unmount /; empty /no/such/folder; empty / || echo refused
echo $(($(wc -l </proc/self/mounts) - before))`);
  assert.equal(out, "refused\n0\n");
});

test("what is mounted below a folder is unmounted before the folder is emptied, but not the folder itself", () => {
  const out = mounted(`mount -t tmpfs none /srv
mkdir -p /srv/own "/srv/a b/c" /srv/data
mount -t tmpfs none "/srv/a b/c"
touch "/srv/a b/c/kept" /srv/data/kept
mount --bind /srv/data /srv/own
empty /srv/own; ls /srv/data
empty /srv; ls -A /srv; mountpoint -q /srv && echo mounted`);
  assert.equal(out, "mounted\n");
});

test("a folder below which something stays mounted is not emptied", () => {
  const out = mounted(`mount -t tmpfs none /srv
mkdir -p /srv/data /srv/pods/volume
touch /srv/data/kept
mount --bind /srv/data /srv/pods/volume
umount() { return 1; }
timeout() { return 1; }
empty /srv/pods || echo refused
ls /srv/data`);
  assert.equal(out, "refused\nkept\n");
});
