import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { insideLan, runOnHost } from "../../lab/instance.ts";
import { run, sleep } from "../../lab/shell.ts";
import { projectDirectory, stackConfig } from "../../lab/stack.ts";
import { trial } from "../figures.ts";
import { TestCluster } from "./harness.ts";

/**
 * Hosts that are not ready: everything that is wrong on all of them in one report, by `pulumi up` and by `npm run preflight`, and no
 * host changed. The tests follow each other; each takes the hosts as the one before left them.
 */

/** A thing that is wrong on a host: how it comes and goes, and what is said of it, whole. */
interface Fault {
  readonly make: string;
  readonly mend: string;
  readonly said: RegExp;
}

const entry = (what: string, got: string, expected: string, remedy: string) => {
  const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/<number>/g, "\\d+");
  return new RegExp(
    `^ *${literal(what)}\n +got: {6}${literal(got)}\n +expected: ${literal(expected)}\n +remedy: {3}${literal(remedy)}$`,
    "m",
  );
};

const swap: Fault = {
  make: "printf 'Filename Type Size Used Priority\\n/swap file 1 0 -2\\n' >/root/swaps && mount --bind /root/swaps /proc/swaps",
  mend: "umount /proc/swaps && rm /root/swaps",
  said: entry("swap", "on", "off", "swapoff -a, and remove it from /etc/fstab"),
};
const faults: Readonly<Record<string, Readonly<Record<string, Fault>>>> = {
  node1: {
    swap,
    "a port that is taken": {
      make: "systemd-run --quiet --collect --unit=squatter socat TCP-LISTEN:6443,fork /dev/null",
      mend: "systemctl stop squatter",
      said: entry(
        "TCP port 6443",
        "in use by socat (squatter.service)",
        "free",
        "stop what listens on it ('ss --tcp -lnp sport = :6443')",
      ),
    },
    "a clock ten minutes behind": {
      make: `printf '#!/bin/sh\\nexec /bin/date -d "10 minutes ago" "$@"\\n' >/usr/local/sbin/date && chmod 755 /usr/local/sbin/date`,
      mend: "rm /usr/local/sbin/date",
      said: entry("clock", "-<number> s off", "at most 60 s", "set the clock, best by NTP (timedatectl set-ntp true)"),
    },
    "what kubeadm left": {
      make: "mkdir -p /etc/kubernetes/manifests && touch /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/admin.conf",
      mend: "rm -r /etc/kubernetes",
      said: entry(
        "leftovers of kubeadm or another kubelet",
        "/etc/kubernetes/manifests, /etc/kubernetes/admin.conf",
        "nothing of another cluster",
        "reset that cluster (kubeadm reset, or its own uninstaller), and empty these folders",
      ),
    },
    "a full disk": {
      make: "mount -t tmpfs -o size=64m tmpfs /opt",
      mend: "umount /opt",
      said: entry("disk of /opt", "64 MiB free", "1200 MiB", "free space or grow the disk"),
    },
  },
  node2: {
    swap,
    "a unit of the host's own": {
      make: "printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/kubelet.service && systemctl daemon-reload",
      mend: "rm /etc/systemd/system/kubelet.service && systemctl daemon-reload",
      said: entry(
        "unit kubelet.service",
        "one of the host's own",
        "none",
        "remove it ('systemctl cat kubelet.service' shows where it comes from)",
      ),
    },
    "rules of another kube-proxy": {
      make: "iptables -N KUBE-SERVICES",
      mend: "iptables -X KUBE-SERVICES",
      said: entry(
        "leftovers of kube-proxy",
        "KUBE-SERVICES and what belongs to it in netfilter",
        "no rules of another cluster",
        "reset that cluster; its rules go with a reboot, or with 'kube-proxy --cleanup'",
      ),
    },
    "a firewall that lets in SSH alone": {
      make: "iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT && iptables -A INPUT -p tcp --dport 22 -j ACCEPT && iptables -P INPUT DROP",
      mend: "iptables -P INPUT ACCEPT && iptables -F INPUT && nft delete table ip filter",
      said: entry(
        "firewall (iptables)",
        "10250/tcp dropped: no rule lets them in",
        "rules that let other hosts reach them",
        "let these in from the other hosts, from pods (10.244.0.0/16) and, for 6443, from where kubectl runs",
      ),
    },
    "a name server on the host itself": {
      make: "cp /etc/resolv.conf /root/ && echo nameserver 127.0.0.1 >/etc/resolv.conf",
      mend: "cat /root/resolv.conf >/etc/resolv.conf && rm /root/resolv.conf",
      said: entry(
        "name servers",
        "127.0.0.1 in /etc/resolv.conf",
        "none on the host itself, where a pod looks for its own",
        "put name servers that pods can reach, too, in /etc/resolv.conf, or in a file that overrides.kubelet.config.resolvConf names",
      ),
    },
    "a network of the host's own among the pods'": {
      make: "ip route add blackhole 10.244.9.0/24",
      mend: "ip route delete blackhole 10.244.9.0/24",
      said: entry(
        "network.podCidr 10.244.0.0/16",
        "the host's own route 'blackhole 10.244.9.0/24'",
        "addresses that nothing else uses",
        "set network.podCidr to another range, or remove the route",
      ),
    },
  },
};

const hosts = ["node1", "node2"];
let cluster: TestCluster;

/** The `npm run preflight` of the test's stack. */
const preflight = (...args: string[]) =>
  run([...insideLan(cluster.instance), "node", "preflight/main.ts", "--stack", "dev", ...args], {
    cwd: projectDirectory,
    env: { ...process.env, ...cluster.stack.environment },
  });

/** What is so on the hosts, a line a fact. */
async function records(): Promise<Set<string>> {
  const input = await readFile(join(import.meta.dirname, "record-host.sh"), "utf8");
  const said = await Promise.all(hosts.map((host) => runOnHost(cluster.instance, host, "bash -s", { input })));
  const facts = said.flatMap(({ code, stdout, stderr }, i) => {
    assert.equal(code, 0, stderr);
    return stdout
      .replace(/ counter packets \d+ bytes \d+/g, "")
      .split("\n")
      .map((fact) => `${hosts[i]} ${fact}`);
  });
  // These are of all labs on the machine.
  return new Set(facts.filter((fact) => !/ sysctl (kernel|vm|fs)\./.test(fact)));
}

before(async () => {
  cluster = await TestCluster.make({ label: "pf", config: await stackConfig("dev"), alone: true });
  // The faults below are units of the moment, whose folder systemd keeps.
  for (const host of hosts) await cluster.onHost(host, "systemd-run --quiet --collect --wait true");
  await cluster.record();
});

after(() => cluster.remove());

describe("hosts that are not ready", () => {
  let up: string;
  let report: string;
  let earlier: Set<string>;

  before(async () => {
    for (const host of hosts) {
      for (const { make } of Object.values(faults[host] ?? {})) await cluster.onHost(host, make);
    }
    const declared = cluster.config["plainkube:hosts"] as Record<string, unknown>[];
    const pinned = await readFile(cluster.instance.knownHostsFile, "utf8");
    await cluster.stack.configure({
      ...cluster.config,
      "plainkube:hosts": [
        ...declared,
        // There is none.
        {
          name: "node3",
          address: "10.90.23.43",
          roles: ["worker"],
          hostKey: pinned.split("\n")[0]?.split(" ").slice(1).join(" "),
        },
      ],
      "plainkube:ssh": { ...(cluster.config["plainkube:ssh"] as object), dialAttempts: 1, dialTimeoutSeconds: 5 },
    });
    earlier = await records();
    // Else Pulumi begins no other host after the first that it knows to be unready.
    up = await cluster.failingUp("--continue-on-error");
    const { code, stdout, stderr } = await preflight();
    assert.equal(code, 1, stderr);
    report = stdout;
  });

  for (const host of hosts) {
    for (const [name, { said }] of Object.entries(faults[host] ?? {})) {
      test(`${name} on ${host} is reported`, () =>
        trial("faults", () => {
          assert.match(up, said);
          const part = report.split(/^(?=node)/m).find((text) => text.startsWith(host)) ?? "";
          assert.match(part, said);
        }));
    }
  }

  test("a host that is not there is one problem among them", () =>
    trial("faults", () => {
      assert.match(up, /node3-root-10\.90\.23\.43[\s\S]*dial tcp 10\.90\.23\.43:22/);
      assert.match(
        report,
        entry(
          "SSH",
          "ssh: connect to host 10.90.23.43 port 22: No route to host",
          "a session at 10.90.23.43:22",
          "see that the host is on, that sshd runs and no firewall is in between; correct address, port or ssh.jump",
        ),
      );
    }));

  test("are counted, with nothing else among the problems", () => {
    const ofNode = (host: string) => Object.keys(faults[host] ?? {}).length;
    for (const host of hosts) {
      assert.match(
        up,
        new RegExp(
          `host ${host} \\(10\\.90\\.23\\.4\\d\\) is not ready: ${ofNode(host)} problems; nothing was changed\\.`,
        ),
      );
      assert.match(report, new RegExp(`^${host} \\(10\\.90\\.23\\.4\\d\\): ${ofNode(host)} problems$`, "m"));
    }
    const all = ofNode("node1") + ofNode("node2") + 1;
    assert.match(report, new RegExp(`\n${all} problems on 3 of 3 hosts; nothing was changed\\. `));
  });

  test("are left as they were", async () => {
    const now = await records();
    assert.ok(now.size > 1000, `${now.size} facts`);
    const differences = [...now]
      .filter((fact) => !earlier.has(fact))
      .concat([...earlier].filter((fact) => !now.has(fact)));
    assert.deepEqual(differences, []);
  });
});

describe("hosts that became ready", () => {
  test("are found so, before any was changed", async () => {
    await cluster.stack.configure(cluster.config);
    for (const host of hosts) {
      for (const { mend } of Object.values(faults[host] ?? {})) await cluster.onHost(host, mend);
    }
    const { code, stdout, stderr } = await preflight();
    assert.deepEqual(
      [code, stdout],
      [0, "node1 (10.90.23.41): ready\nnode2 (10.90.23.42): ready\n2 hosts ready.\n"],
      stderr,
    );
  });

  test("are told where one is a copy of the other", () =>
    trial("faults", async () => {
      const id = await cluster.onHost("node1", "cat /etc/machine-id");
      await cluster.onHost("node2", `cp /etc/machine-id /root/ && echo ${id.trim()} >/etc/machine-id`);
      const said = entry(
        "machine-id of node2 (10.90.23.42)",
        "that of node1 (10.90.23.41)",
        "one of its own",
        "name each machine once in plainkube:hosts; where one is a copy, give it an id of its own (rm -f /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot; a DHCP server may then give it another address)",
      );
      const { code, stdout } = await preflight();
      assert.equal(code, 1);
      assert.match(stdout, said);
      await cluster.onHost("node2", "cat /root/machine-id >/etc/machine-id && rm /root/machine-id");
    }));

  test("bear no mark that destroy does not know, when up is killed as it comes", () =>
    trial("faults", async () => {
      const [program = "", ...args] = cluster.stack.command(["up", "--yes", "--skip-preview", "--non-interactive"]);
      const child = spawn(program, args, {
        cwd: projectDirectory,
        env: { ...process.env, ...cluster.stack.environment },
        stdio: "ignore",
        detached: true,
      });
      const ended = once(child, "close");
      await cluster.onHost(
        "node2",
        "for i in $(seq 600); do test -e /var/lib/plainkube && exit; sleep 0.05; done; exit 1",
      );
      process.kill(-(child.pid ?? 0), "SIGKILL");
      await ended;
      await cluster.pulumi("cancel", "--yes");
      // What runs on the hosts comes to its end by itself.
      await sleep(1000);
      await cluster.assertGivenBack();
    }));
});

describe("a cluster that runs", () => {
  test("is no problem to itself", async () => {
    await cluster.up();
    const { code, stdout, stderr } = await preflight();
    assert.deepEqual(
      [code, stdout],
      [0, "node1 (10.90.23.41): ready\nnode2 (10.90.23.42): ready\n2 hosts ready.\n"],
      stderr,
    );
  });

  test("is left alone where a change needs a port that is taken", () =>
    trial("faults", async () => {
      await cluster.onHost(
        "node2",
        "systemd-run --quiet --collect --unit=squatter socat UDP-LISTEN:8472,fork /dev/null",
      );
      await cluster.stack.configure({ ...cluster.config, "plainkube:network": { podNetwork: "flannel" } });
      const earlier = await cluster.invocations();
      const said = entry(
        "UDP port 8472",
        "in use by socat (squatter.service)",
        "free",
        "stop what listens on it ('ss --udp -lnp sport = :8472')",
      );
      assert.match(await cluster.failingUp(), said);
      assert.match((await preflight()).stdout, said);
      assert.deepEqual(await cluster.restartedSince(earlier), []);
      await cluster.stack.configure(cluster.config);
      await cluster.onHost("node2", "systemctl stop squatter");
      await cluster.up();
      assert.deepEqual(await cluster.restartedSince(earlier), []);
    }));

  test("is given back", () => cluster.assertGivenBack());
});
