/**
 * preflight.sh and claim.sh, run for real in namespaces of their own: files, interfaces, routes and sockets are real, programs that
 * would speak of this machine are stand-ins. On hosts they are tried by tests/e2e/preflight.test.ts.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { planOf } from "../../components/host/plan.ts";
import { hostScript } from "../../components/host/script.ts";
import { sameMachines } from "../../preflight/report.ts";
import {
  devConfig,
  directory,
  exampleConfig,
  flannelConfig,
  projectDirectory,
  type RawConfig,
  specOf,
} from "./clusters.ts";

/** Programs that say what a good host's would. A test puts others in their places. */
const standIns: Readonly<Record<string, string>> = {
  systemctl: `case $1 in
  cat) test -e "/etc/systemd/system/$3" ;;
  show)
    shift 5
    for unit; do if [ -e "/etc/systemd/system/$unit" ]; then echo loaded; else echo not-found; fi; echo; done ;;
  *) for unit; do :; done; test -e "/run/active/$unit" ;;
esac`,
  df: "printf 'Filesystem 1M-blocks Used Available Capacity Mounted\\n/dev/vda 99999 1 90000 1%% /\\n'",
  nft: 'case $2 in ruleset) cat /run/ruleset ;; *) echo "table ip filter" ;; esac',
  "iptables-save": "cat /run/tables",
  "systemd-detect-virt": "exit 0",
  sysctl: `case $1 in
  --all) ;;
  -n) echo "value of $2" ;;
  *) for key; do echo "$key = value of $key"; done ;;
esac`,
  ...Object.fromEntries(
    ["iptables", "iptables-legacy-save", "iptables-nft-save", "conntrack", "curl", "modprobe"].map((name) => [
      name,
      ":",
    ]),
  ),
};

/** What every host of the tests has, in a mount, network and process namespace of its own. */
const ground = `set -e
mount --bind /etc/alternatives "$ROOT/etc/alternatives"
ip link set lo up
ip link add e0 type veth peer name e1
ip address add 10.90.23.41/24 dev e0
ip link set e0 up
ip link set e1 up
ip route add default via 10.90.23.1
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /sys/fs/cgroup
echo cpuset cpu io memory pids >/sys/fs/cgroup/cgroup.controllers
for dir in etc opt run; do mount --rbind "$ROOT/$dir" "/$dir"; done
mount --bind "$ROOT/lib" /var/lib
mount --bind "$ROOT/sbin" /usr/local/sbin
mount --bind "$ROOT/etc/comm" /proc/1/comm
mount --bind "$ROOT/etc/swaps" /proc/swaps
`;

class TestHost {
  readonly root = mkdtempSync(join(directory, "host-"));

  constructor() {
    for (const dir of ["etc/systemd/system", "etc/alternatives", "opt", "run/active", "lib", "sbin"])
      mkdirSync(join(this.root, dir), { recursive: true });
    for (const [path, text] of Object.entries({
      "etc/comm": "systemd\n",
      "etc/swaps": "Filename Type Size Used Priority\n",
      "etc/resolv.conf": "nameserver 192.0.2.53\n",
      "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
      "run/tables": "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n",
      "run/ruleset": "",
    }))
      writeFileSync(join(this.root, path), text);
    for (const [name, body] of Object.entries(standIns)) {
      writeFileSync(join(this.root, "sbin", name), `#!/bin/sh\n${body}\n`);
      chmodSync(join(this.root, "sbin", name), 0o755);
    }
  }

  /** Runs the host's script after a shell text that makes the host what it is. */
  run(
    phase: "preflight" | "claim" | "reset",
    { setup = "", config = devConfig(), host = 0, cluster = "c0ffee00", args = [] as string[] } = {},
  ): { status: number | null; stdout: string; stderr: string } {
    const spec = specOf(config);
    const declared = spec.hosts[host] ?? assert.fail();
    const script = hostScript({ spec, host: declared, ...planOf(spec, declared) }, cluster, phase);
    const enter = `${ground}\n${setup}\nbash -s -- "$@"; exit $?`;
    const namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const user = process.getuid?.() === 0 ? [] : ["--map-root-user"];
    const { status, stdout, stderr, error } = spawnSync(
      "unshare",
      [...namespaces, ...user, "sh", "-c", enter, "sh", phase, ...args],
      { input: script, encoding: "utf8", timeout: 30_000, env: { ...process.env, ROOT: this.root } },
    );
    if (error) throw error;
    return { status, stdout, stderr };
  }

  /** Every file of the host that outlives its run, with what is in it. */
  files(): string {
    const listing =
      "find etc opt lib sbin -printf '%y %m %p %l\\n' | sort; find etc opt lib sbin -type f -print0 | sort -z | xargs -0 sha256sum";
    return spawnSync("sh", ["-c", listing], { cwd: this.root, encoding: "utf8" }).stdout;
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), "utf8");
  }
}

const entry = (what: string, got: string, expected: string, remedy: string): string =>
  `  ${what}\n    got:      ${got}\n    expected: ${expected}\n    remedy:   ${remedy}\n`;
const notReady = (...problems: string[]): string => {
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  return (
    `plainkube: host node1 (10.90.23.41) is not ready: ${count}; nothing was changed.\n${problems.join("")}` +
    "Correct them, then run 'pulumi up' again. 'npm run preflight' checks all hosts at once.\n"
  );
};
const standIn = (name: string, body: string) =>
  `printf '%s\\n' '#!/bin/sh' ${JSON.stringify(body).replaceAll("$", "\\$")} >/usr/local/sbin/${name}; chmod 755 /usr/local/sbin/${name}`;
const write = (path: string, text: string) => `mkdir -p "$(dirname ${path})"; cat >${path} <<'END'\n${text}\nEND`;
/** Files of an earlier run on this host. */
const claimed = (notes: Readonly<Record<string, string>> = {}) =>
  Object.entries({
    owner: "dev-c0ffee00/node1@10.90.23.41",
    fixed: "podCidr 10.244.0.0/16/24 serviceCidr 10.96.0.0/16 controlPlane node1@10.90.23.41",
    rising: "encryption.generation=1\nversions.kubernetes=1.36.3",
    ...notes,
  })
    .map(([name, text]) => write(`/var/lib/plainkube/state/${name}`, text))
    .join("\n");
const listen = (port: number, protocol: "tcp" | "udp") =>
  `${process.execPath} -e '${
    protocol === "tcp"
      ? `require("node:net").createServer().listen(${port})`
      : `require("node:dgram").createSocket("udp4").bind(${port})`
  }' </dev/null >/dev/null 2>&1 &
for i in $(seq 100); do grep -q ":${port.toString(16).toUpperCase().padStart(4, "0")} " /proc/net/${protocol} /proc/net/${protocol}6 && break; sleep 0.05; done`;
const rules = (text: string) => write("/run/tables", `*filter\n${text}\nCOMMIT`);
const letIn = "rules that let other hosts reach them";
const letThese = "let these in from the other hosts, from pods (10.244.0.0/16) and, for 6443, from where kubectl runs";
const noCluster = "nothing of another cluster";

interface Case {
  readonly setup: string;
  readonly said: string;
  readonly config?: RawConfig;
  readonly args?: string[];
}
const flannel = { ...devConfig(), network: { podNetwork: "flannel" } };
const nftables = { ...devConfig(), network: { kubeProxyMode: "nftables" } };
const version = (kubernetes: string) => ({ ...devConfig(), versions: { kubernetes } });

const refused: Readonly<Record<string, Case>> = {
  "another user than root": {
    setup: standIn("id", "echo 1000"),
    said: entry("user", "uid 1000", "root or passwordless sudo", "log in as root, or allow sudo without password"),
  },
  "another operating system": {
    setup: standIn("uname", "case $1 in -m) echo x86_64 ;; *) echo FreeBSD ;; esac"),
    said: entry("operating system", "FreeBSD", "Linux", "use a Linux host"),
  },
  "another architecture": {
    setup: standIn("uname", "case $1 in -m) echo aarch64 ;; *) echo Linux ;; esac"),
    said: entry("architecture", "arm64", "amd64", "use a host of that architecture"),
  },
  "another init": {
    setup: "echo openrc >/etc/comm",
    said: entry("init", "openrc", "systemd", "use a host that boots with systemd"),
  },
  "a tool that is missing": {
    setup: `mkdir /run/all; mount --bind /usr/sbin /run/all; mount -t tmpfs tmpfs /usr/sbin; ln -s /run/all/* /usr/sbin/
rm -f /usr/sbin/conntrack /usr/local/sbin/conntrack`,
    said: entry("tool conntrack", "none on PATH", "conntrack", "install the package that holds it"),
  },
  "a name that is not the node's, where the kubelet takes it": {
    setup: standIn("hostname", "echo someone"),
    config: exampleConfig("minimal"),
    said: entry(
      "host name",
      "someone",
      "node1",
      "set it (hostnamectl set-hostname node1), or name the host so in plainkube:hosts",
    ),
  },
  "a node of another stack": {
    setup: claimed({ owner: "other-12345678/node1@10.90.23.41" }),
    said: entry(
      "leftovers",
      "node other-12345678/node1@10.90.23.41 of plainkube",
      "none, or node dev-c0ffee00/node1@10.90.23.41",
      "destroy that stack, or remove that node from its stack, first",
    ),
  },
  "a setting that a cluster keeps for life": {
    setup: claimed({ fixed: "podCidr 10.1.0.0/16/24" }),
    said: entry(
      "a setting that a cluster keeps for life",
      "podCidr 10.244.0.0/16/24 serviceCidr 10.96.0.0/16 controlPlane node1@10.90.23.41",
      "podCidr 10.1.0.0/16/24",
      "set it back, or run 'pulumi destroy' first",
    ),
  },
  "a Kubernetes version that was passed": {
    setup: claimed(),
    config: version("1.35.4"),
    said: entry(
      "versions.kubernetes, which only rises",
      "1.35.4",
      "at least 1.36.3: what that has stored, this cannot read",
      "set it back, or run 'pulumi destroy' first",
    ),
  },
  "a jump over a minor version of Kubernetes": {
    setup: claimed({ rising: "encryption.generation=1\nversions.kubernetes=1.34.10" }),
    said: entry(
      "versions.kubernetes",
      "1.36.3",
      "1.35 at most after 1.34.10: Kubernetes is upgraded by one minor version at a time",
      "set it to each minor version in between, and run 'pulumi up' with each; or run 'pulumi destroy' first",
    ),
  },
  "Secrets under a key that an earlier program made": {
    setup: `${claimed({ rising: "encryption.generation=1\nversions.kubernetes=1.36.3" })}
mkdir -p /etc/plainkube; echo a key >/etc/plainkube/encryption.yaml`,
    said: entry(
      "the key of Secrets",
      "one that an earlier version of this program made",
      "none: this version makes another, and could not read what is stored",
      "with the earlier version set apiServer.encryption.secrets to false, run 'pulumi up', and write all Secrets anew; then run this version, and set it back (docs/security.md)",
    ),
  },
  "a disk of the host's own below a folder that is emptied at the end": {
    setup: "mkdir -p /var/lib/plainkube/volumes; mount -t tmpfs none /var/lib/plainkube/volumes",
    said: entry(
      "leftovers",
      "a mount at /var/lib/plainkube/volumes",
      "none below /var/lib/plainkube, which is emptied at the end",
      "mount /var/lib/plainkube itself, or unmount it",
    ),
  },
  "a TCP port that is taken": {
    setup: listen(10250, "tcp"),
    said: entry("TCP port 10250", "in use by WHO", "free", "stop what listens on it ('ss --tcp -lnp sport = :10250')"),
  },
  "a TCP port that is taken since, beside the cluster's own": {
    setup: `${claimed()}\n${listen(10249, "tcp")}`,
    said: entry("TCP port 10249", "in use by WHO", "free", "stop what listens on it ('ss --tcp -lnp sport = :10249')"),
  },
  "a UDP port that is taken": {
    setup: listen(8472, "udp"),
    config: flannel,
    said: entry("UDP port 8472", "in use by WHO", "free", "stop what listens on it ('ss --udp -lnp sport = :8472')"),
  },
  "a unit of its own, on a host of the cluster": {
    setup: `${claimed({ "files.node": "/etc/systemd/system/kube-proxy.service" })}
touch /etc/systemd/system/kube-proxy.service /etc/systemd/system/flanneld.service`,
    config: flannel,
    said: entry(
      "unit flanneld.service",
      "one of the host's own",
      "none",
      "remove it ('systemctl cat flanneld.service' shows where it comes from)",
    ),
  },
  kubeadm: {
    setup:
      "mkdir -p /etc/kubernetes/manifests /var/lib/kubelet; touch /etc/kubernetes/kubelet.conf /var/lib/kubelet/config.yaml",
    said: entry(
      "leftovers of kubeadm or another kubelet",
      "/etc/kubernetes/kubelet.conf, /var/lib/kubelet",
      noCluster,
      "reset that cluster (kubeadm reset, or its own uninstaller), and empty these folders",
    ),
  },
  k3s: {
    setup: "touch /etc/systemd/system/k3s-agent.service; mkdir -p /var/lib/rancher/k3s/agent",
    said: entry(
      "leftovers of k3s",
      "k3s-agent.service, /var/lib/rancher/k3s",
      noCluster,
      "uninstall it (k3s-uninstall.sh or k3s-agent-uninstall.sh)",
    ),
  },
  rke2: {
    setup: "mkdir -p /etc/rancher/rke2/config.yaml.d",
    said: entry("leftovers of rke2", "/etc/rancher/rke2", noCluster, "uninstall it (rke2-uninstall.sh)"),
  },
  k0s: {
    setup: "mkdir -p /var/lib/k0s/bin",
    said: entry("leftovers of k0s", "/var/lib/k0s", noCluster, "uninstall it (k0s stop, k0s reset)"),
  },
  microk8s: {
    setup: "touch /etc/systemd/system/snap.microk8s.daemon-kubelite.service",
    said: entry(
      "leftovers of microk8s",
      "snap.microk8s.daemon-kubelite.service",
      noCluster,
      "uninstall it (snap remove --purge microk8s)",
    ),
  },
  "a folder of ours with something in it": {
    setup: "mkdir -p /opt/plainkube/bin",
    said: entry(
      "leftovers",
      "/opt/plainkube",
      "a folder that is empty or not there",
      "move its files away, and stop what uses them",
    ),
  },
  "chains of another kube-proxy": {
    setup: rules(":INPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]"),
    said: entry(
      "leftovers of kube-proxy",
      "KUBE-FORWARD and what belongs to it in netfilter",
      "no rules of another cluster",
      "reset that cluster; its rules go with a reboot, or with 'kube-proxy --cleanup'",
    ),
  },
  "a table of another kube-proxy": {
    setup: write("/run/ruleset", "table ip kube-proxy {\n}"),
    said: entry(
      "leftovers of kube-proxy",
      "table kube-proxy and what belongs to it in netfilter",
      "no rules of another cluster",
      "reset that cluster; its rules go with a reboot, or with 'kube-proxy --cleanup'",
    ),
  },
  "an interface of another cluster": {
    setup: "ip link add flannel.1 type bridge",
    said: entry(
      "leftovers",
      "interface flannel.1",
      "none of another cluster",
      "reset that cluster, then remove it ('ip link delete flannel.1')",
    ),
  },
  "a bridge of another cluster": {
    setup: "ip link add cni0 type bridge",
    said: entry(
      "leftovers",
      "interface cni0, with nothing on it",
      "none of another cluster",
      "remove it ('ip link delete cni0')",
    ),
  },
  "a route among the pods' addresses": {
    setup: "ip route add 10.244.128.0/17 dev e0",
    said: entry(
      "network.podCidr 10.244.0.0/16",
      "the host's own route '10.244.128.0/17 dev e0 scope link'",
      "addresses that nothing else uses",
      "set network.podCidr to another range, or remove the route",
    ),
  },
  "an address among the Services'": {
    setup: "ip address add 10.96.3.4/32 dev lo",
    said: entry(
      "network.serviceCidr 10.96.0.0/16",
      "the host's own route 'local 10.96.3.4 dev lo table local proto kernel scope host src 10.96.3.4'",
      "addresses that nothing else uses",
      "set network.serviceCidr to another range, or remove the route",
    ),
  },
  "a clock that is off": {
    setup: standIn("date", "echo 1700000000"),
    args: ["1700000600"],
    said: entry("clock", "-600 s off", "at most 60 s", "set the clock, best by NTP (timedatectl set-ntp true)"),
  },
  "a disk that is too small": {
    setup: standIn("df", 'free=9999; case $1 in -Pm) free=1799 ;; esac; printf "x\\n/dev/vda 99999 1 $free 1%% /\\n"'),
    said: entry("disk of /opt and /var/lib", "1799 MiB free", "1800 MiB", "free space or grow the disk"),
  },
  "a small disk for /var/lib alone": {
    setup: `mount -t tmpfs tmpfs /var/lib; ${standIn("df", 'free=9999; case "$*" in "-Pm /var/lib") free=599 ;; esac; printf "x\\n/dev/vda 99999 1 $free 1%% /\\n"')}`,
    said: entry("disk of /var/lib", "599 MiB free", "600 MiB", "free space or grow the disk"),
  },
  "a disk without inodes": {
    setup: standIn("df", 'free=9999; case $1 in -Pi) free=12 ;; esac; printf "x\\n/dev/vda 99999 1 $free 1%% /\\n"'),
    said: entry(
      "inodes of /opt and /var/lib",
      "12 free",
      "5000",
      "remove files, or make the file system anew with more inodes",
    ),
  },
  "ufw as it is switched on": {
    setup: `${rules(`:INPUT DROP [0:0]
:FORWARD DROP [0:0]
-A INPUT -j ufw-before-input
-A FORWARD -j ACCEPT
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-limit-accept -j ACCEPT`)}\n${write("/etc/ufw/ufw.conf", "ENABLED=yes")}`,
    said: entry(
      "firewall (iptables)",
      "6443/tcp, 10250/tcp dropped: no rule lets them in",
      letIn,
      `${letThese} (ufw allow from ADDRESS to any port 6443 proto tcp; ufw allow from ADDRESS to any port 10250 proto tcp)`,
    ),
  },
  "a chain that ends in REJECT, with one of the ports": {
    setup: rules(`:INPUT ACCEPT [0:0]
-A INPUT -p tcp -m multiport --dports 22,6443 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited`),
    said: entry("firewall (iptables)", "10250/tcp dropped: no rule lets them in", letIn, letThese),
  },
  firewalld: {
    setup: `${write(
      "/run/ruleset",
      `table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		jump filter_INPUT_ZONES
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		accept
	}
	chain filter_IN_public {
		meta l4proto { icmp, ipv6-icmp } accept
	}
	chain filter_IN_public_allow {
		tcp dport 22 accept
		tcp dport { 80, 6443 } counter packets 10250 bytes 0 accept comment "10250"
	}
}`,
    )}\ntouch /run/active/firewalld`,
    said: entry(
      "firewall (nftables table inet firewalld)",
      "10250/tcp dropped: no rule lets them in",
      letIn,
      `${letThese} (add the others' addresses as sources of a zone that opens them: firewall-cmd --permanent --zone=trusted --add-source=ADDRESS; firewall-cmd --reload)`,
    ),
  },
  "an old kernel for nftables": {
    setup: standIn("uname", "case $1 in -m) echo x86_64 ;; -r) echo 5.10.0 ;; *) echo Linux ;; esac"),
    config: nftables,
    said: entry(
      "kernel",
      "5.10.0",
      "5.13 or newer for kube-proxy's nftables mode",
      "use a newer kernel, or set network.kubeProxyMode to iptables",
    ),
  },
  "a kernel without nf_tables": {
    setup: standIn("nft", "exit 1"),
    config: nftables,
    said: entry(
      "kernel feature",
      "no nf_tables",
      "nf_tables",
      "install the kernel's modules, or set network.kubeProxyMode to iptables",
    ),
  },
  "an interface with too small an MTU for VXLAN": {
    setup: "ip link set e0 mtu 1450",
    config: flannel,
    said: entry("MTU of e0", "1450", "1500 for what VXLAN sends", "set network.mtu to 1400 or less"),
  },
  "no interface with the host's address, for VXLAN": {
    setup:
      "ip address add 10.90.23.99/24 dev e0; ip address delete 10.90.23.41/24 dev e0; ip route replace default dev e0",
    config: flannel,
    said: entry(
      "address 10.90.23.41",
      "none of the host's interfaces",
      "one that has it",
      "correct the host's address: VXLAN needs its interface",
    ),
  },
  "a VXLAN interface of the same name": {
    setup: "ip link add flannel.7 type vxlan id 7 dev e0 dstport 4790",
    config: flannelConfig(),
    said: entry(
      "VXLAN",
      "interface flannel.7 on UDP port 4790",
      "none called flannel.7, and none on UDP port 4789",
      "remove it with what makes it ('ip link delete flannel.7'), or set network.flannel.vni and network.flannel.port to others",
    ),
  },
  "a VXLAN interface on the same port": {
    setup: "ip link add overlay type vxlan id 9 dev e0 dstport 4789",
    config: flannelConfig(),
    said: entry(
      "VXLAN",
      "interface overlay on UDP port 4789",
      "none called flannel.7, and none on UDP port 4789",
      "remove it with what makes it ('ip link delete overlay'), or set network.flannel.vni and network.flannel.port to others",
    ),
  },
  "a name server on the host itself": {
    setup: write("/etc/resolv.conf", "search example.com\nnameserver 192.0.2.53\nnameserver 127.0.0.1"),
    said: entry(
      "name servers",
      "127.0.0.1 in /etc/resolv.conf",
      "none on the host itself, where a pod looks for its own",
      "put name servers that pods can reach, too, in /etc/resolv.conf, or in a file that overrides.kubelet.config.resolvConf names",
    ),
  },
  "no name server": {
    setup: "rm /etc/resolv.conf",
    said: entry(
      "name servers",
      "none in /etc/resolv.conf",
      "one at least",
      "put name servers that pods can reach, too, in /etc/resolv.conf, or in a file that overrides.kubelet.config.resolvConf names",
    ),
  },
  "a folder of volumes with something in it": {
    setup: "mkdir -p /opt/volumes/data",
    config: {
      ...devConfig(),
      addons: { localPath: "/opt/volumes", storageClasses: [{ name: "local", provisioner: "local-path" }] },
    },
    said: entry(
      "folder of volumes",
      "/opt/volumes, with something in it",
      "none, or an empty folder",
      "empty it, or set addons.localPath to another",
    ),
  },
  swap: {
    setup: "echo /swap file 1 0 -2 >>/etc/swaps",
    said: entry("swap", "on", "off", "swapoff -a, and remove it from /etc/fstab"),
  },
  "cgroup version 1": {
    setup:
      "umount /sys/fs/cgroup; mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/cpu /sys/fs/cgroup/memory /sys/fs/cgroup/pids",
    config: { ...devConfig(), runtime: { allowCgroupV1: false } },
    said: entry(
      "cgroup version",
      "1",
      "2",
      "boot with systemd.unified_cgroup_hierarchy=1, or set runtime.allowCgroupV1",
    ),
  },
  "a cgroup controller that is missing": {
    setup: "echo cpu pids >/sys/fs/cgroup/cgroup.controllers",
    said: entry("cgroup controller", "no memory", "memory", "enable it on the kernel's command line"),
  },
  "no route to Services": {
    setup: "ip route delete default",
    said: entry(
      "route to 10.96.0.1",
      "none",
      "a default route, or one to the service CIDR",
      "add one: without it no connection to a Service leaves the host's own programs",
    ),
  },
};

/** A port's holder is as the machine of the test says: its unit, or the process. */
const withoutHolder = (text: string) => text.replace(/in use by \S+ \((process \d+|\S+\.service)\)/g, "in use by WHO");

for (const [name, { setup, said, ...options }] of Object.entries(refused)) {
  test(`refused: ${name}`, () => {
    const { status, stdout, stderr } = new TestHost().run("preflight", { setup, ...options });
    assert.equal(withoutHolder(stderr), notReady(said));
    assert.deepEqual([status, stdout], [1, ""]);
  });
}

const ready = /^ready [0-9a-f]{16} -\n$/;
const taken: Readonly<Record<string, Omit<Case, "said">>> = {
  "a bare host": { setup: "" },
  "a bare host for the system minimal": { setup: standIn("hostname", "echo node1"), config: exampleConfig("minimal") },
  "a bare host for the system api-only": { setup: "", config: exampleConfig("api-only") },
  "a host of the cluster, with units, rules, routes and interfaces of the cluster's": {
    setup: `${claimed({ "files.node": "/etc/systemd/system/kubelet.service\n/etc/systemd/system/flanneld.service" })}
touch /etc/systemd/system/kubelet.service /etc/systemd/system/flanneld.service
mkdir -p /opt/plainkube/bin /var/lib/kubelet/pods
${rules(":INPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]")}
ip link add flannel.7 type vxlan id 7 dev e0 dstport 4789
ip link set flannel.7 up
ip route add 10.244.3.0/24 dev e0 proto 112
${write("/run/plainkube/vxlan", "flannel.7")}`,
    config: flannelConfig(),
  },
  "the next minor version of Kubernetes": {
    setup: claimed({ rising: "encryption.generation=1\nversions.kubernetes=1.35.4" }),
  },
  "a claim that was cut off": {
    setup: write("/var/lib/plainkube/state/owner", "dev-c0ffee00/node1@10.90.23.41"),
  },
  "another user's bridge with containers on it": {
    setup: "ip link add cni0 type bridge; ip link add p0 type veth peer name p1; ip link set p0 master cni0",
  },
  "a wider route over the pods' and Services' addresses": {
    setup: "ip route add 10.0.0.0/8 via 10.90.23.2; ip route add 10.244.0.0/15 via 10.90.23.2",
  },
  "a route with several ways": {
    setup: "ip route add 192.0.2.0/24 nexthop via 10.90.23.2 nexthop via 10.90.23.3",
  },
  "a VXLAN interface on another port": {
    setup: "ip link add overlay type vxlan id 7 dev e0 dstport 4790",
    config: flannelConfig(),
  },
  "systemd-resolved": {
    setup: `echo nameserver 127.0.0.53 >/etc/resolv.conf; touch /run/active/systemd-resolved.service`,
  },
  "a name server on the host, where the kubelet is told of others": {
    setup: "echo nameserver 127.0.0.1 >/etc/resolv.conf",
    config: { ...devConfig(), overrides: { kubelet: { config: { resolvConf: "/etc/pods-resolv.conf" } } } },
  },
  "Docker's rules": {
    setup: rules(
      ":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
  },
  "a file system that does not count inodes": {
    setup: standIn(
      "df",
      'case $1 in -Pi) printf "x\\n/dev/vda 0 0 0 - /\\n" ;; *) printf "x\\n/dev/vda 99999 1 9999 1%% /\\n" ;; esac',
    ),
  },
};

for (const [name, { setup, ...options }] of Object.entries(taken)) {
  test(`ready: ${name}`, () => {
    const { status, stdout, stderr } = new TestHost().run("preflight", { setup, ...options });
    assert.equal(stderr, "");
    assert.match(stdout, ready);
    assert.equal(status, 0);
  });
}

const mayDrop = (filter: string) =>
  entry(
    `warning: firewall (${filter})`,
    "drops what no rule lets in",
    "rules that let other hosts reach 6443/tcp, 10250/tcp",
    `see that they do; else ${letThese}`,
  );
const warned: Readonly<Record<string, Case>> = {
  "a firewall that lets the network of the hosts in": {
    setup: rules(":INPUT DROP [0:0]\n-A INPUT -s 10.90.23.0/24 -j ACCEPT"),
    said: mayDrop("iptables"),
  },
  "a firewall that lets the ports in": {
    setup: rules(
      ":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 6443 -m state --state NEW -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 10000:10999 -j ACCEPT",
    ),
    said: mayDrop("iptables"),
  },
  "an nftables firewall with a set": {
    setup: write(
      "/run/ruleset",
      "table inet fw {\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;\n\t\ttcp dport @open accept\n\t}\n}",
    ),
    said: mayDrop("nftables table inet fw"),
  },
  "a firewall between networks, with rules that ours do not come before": {
    setup: rules(":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]"),
    config: nftables,
    said: entry(
      "warning: firewall (iptables)",
      "drops what is forwarded and no rule lets through",
      "rules that let pass what comes from and goes to 10.244.0.0/16",
      "see that they do: packets of pods are forwarded by the host",
    ),
  },
};

for (const [name, { setup, said, ...options }] of Object.entries(warned)) {
  test(`warned of: ${name}`, () => {
    const { status, stdout, stderr } = new TestHost().run("preflight", { setup, ...options });
    assert.equal(stderr, said);
    assert.match(stdout, ready);
    assert.equal(status, 0);
  });
}

test("all problems are in one report, and nothing is changed", () => {
  const host = new TestHost();
  const before = host.files();
  const clean = host.run("preflight");
  assert.match(clean.stdout, ready);
  const { status, stderr } = host.run("preflight", {
    setup: `ip route delete default; ${standIn("date", "echo 1700000000")}; umount /proc/swaps; mount --bind /etc/machine-id /proc/swaps; echo >>/etc/machine-id`,
    args: ["1700000600"],
  });
  assert.equal(status, 1);
  assert.deepEqual(
    [...stderr.matchAll(/^ {2}(\S.*)/gm)].map(([, what]) => what),
    ["clock", "swap", "route to 10.96.0.1"],
  );
  // What the test itself has put there.
  rmSync(join(host.root, "sbin/date"));
  writeFileSync(join(host.root, "etc/machine-id"), "0123456789abcdef0123456789abcdef\n");
  assert.equal(host.files(), before);
});

test("what a host says cannot look like more than it is", () => {
  const { stderr } = new TestHost().run("preflight", {
    setup: standIn("hostname", "printf 'a\\nb\\033[31m'"),
    config: exampleConfig("minimal"),
  });
  assert.match(stderr, /^ {4}got: {6}a b \[31m$/m);
});

const state = "lib/plainkube/state";

test("a claim marks the host and notes what was there, once", () => {
  const host = new TestHost();
  assert.deepEqual(host.run("claim", { setup: "touch /run/active/network-online.target" }).status, 0);
  assert.equal(host.read(`${state}/owner`), "dev-c0ffee00/node1@10.90.23.41\n");
  assert.equal(host.read(`${state}/nft-tables.before`), "table ip filter\n");
  assert.equal(
    host.read(`${state}/rising`),
    "encryption.generation=1\nencryption.keys=2\nversions.kubernetes=1.36.3\n",
  );
  const sysctls = host.read(`${state}/sysctl.before`);
  assert.match(sysctls, /^net\.ipv4\.ip_forward = value of net\.ipv4\.ip_forward$/m);
  assert.match(sysctls, /^kernel\.panic = /m);
  const before = host.files();
  const again = host.run("claim", {
    setup: `${standIn("sysctl", "echo 7")}; ${standIn("nft", "case $2 in tables) echo table ip new ;; esac")}`,
  });
  assert.equal(again.status, 0, again.stderr);
  for (const name of ["sysctl", "nft"]) {
    rmSync(join(host.root, "sbin", name));
    writeFileSync(join(host.root, "sbin", name), `#!/bin/sh\n${standIns[name]}\n`, { mode: 0o755 });
  }
  assert.equal(host.files(), before);
});

test("a claim looks once more, and changes nothing where the host is not ready any more", () => {
  const host = new TestHost();
  const { status, stderr } = host.run("claim", { setup: "ip route delete default" });
  assert.equal(status, 1);
  assert.match(stderr, /is not ready: 1 problem; nothing was changed/);
  assert.throws(() => host.read(`${state}/owner`), /ENOENT/);
});

test("of two programs that claim a host at the same moment, one gets it", () => {
  const host = new TestHost();
  // The other one comes between the look and the mark.
  const { status, stderr } = host.run("claim", {
    setup: standIn("chmod", 'echo other-12345678/n@10.90.23.41 >/var/lib/plainkube/state/owner; exec /bin/chmod "$@"'),
  });
  assert.equal(status, 1);
  assert.equal(
    stderr,
    "plainkube: host node1 (10.90.23.41) has just become node other-12345678/n@10.90.23.41; expected none, or node dev-c0ffee00/node1@10.90.23.41. " +
      "Destroy that stack, or remove that node from its stack, first.\n",
  );
  assert.equal(host.read(`${state}/owner`), "other-12345678/n@10.90.23.41\n");
  assert.deepEqual(
    host
      .files()
      .match(/state\/\S+/g)
      ?.filter((path) => path !== "state/owner"),
    [],
  );
});

test("a claim that was cut off anywhere is completed by the next", () => {
  const whole = new TestHost();
  assert.equal(whole.run("claim").status, 0);
  for (const cut of ["nft", "sysctl", "tr"]) {
    const host = new TestHost();
    const real = standIns[cut] === undefined ? undefined : host.read(`sbin/${cut}`);
    // The shell that runs the script, and the one beneath it that may stand in between.
    const kill = 'read -r _ _ _ up _ <"/proc/$PPID/stat"; kill -KILL "$PPID" "$up"';
    const stop = cut === "nft" ? `case $2 in ruleset) ;; *) ${kill} ;; esac` : kill;
    host.run("claim", { setup: standIn(cut, stop) });
    assert.ok(host.read(`${state}/owner`) && !existsSync(join(host.root, state, "rising")) === (cut !== "tr"), cut);
    rmSync(join(host.root, "sbin", cut));
    if (real !== undefined) writeFileSync(join(host.root, "sbin", cut), real, { mode: 0o755 });
    assert.equal(host.run("claim").status, 0, cut);
    assert.equal(host.files(), whole.files(), cut);
  }
});

test("a claim that was cut off before its mark leaves nothing behind a reset", () => {
  const host = new TestHost();
  const before = host.files();
  host.run("claim", { setup: standIn("ln", 'kill -KILL "$PPID"') });
  assert.match(host.files(), /state\/owner\./, "it was cut off in between");
  assert.equal(host.run("reset").stdout, "nothing of dev-c0ffee00/node1@10.90.23.41 here\n");
  rmSync(join(host.root, "sbin/ln"));
  assert.equal(host.files(), before);
});

test("two hosts that are one machine, or copies, are found", () => {
  const answer = (name: string, said: string) => ({ name, address: `192.0.2.${name}`, said });
  assert.deepEqual(sameMachines([answer("1", "ready aa -\n"), answer("2", "ready bb -\n"), answer("3", "")]), []);
  const found = sameMachines([answer("1", "ready aa cc\n"), answer("2", "ready bb -\n"), answer("3", "ready aa cc\n")]);
  assert.deepEqual(
    found.map(({ host, what, got }) => [host, what, got]),
    [
      ["3", "machine-id of 3 (192.0.2.3)", "that of 1 (192.0.2.1)"],
      ["3", "product_uuid of 3 (192.0.2.3)", "that of 1 (192.0.2.1)"],
    ],
  );
  // A host that an earlier program has looked at says no ids.
  assert.deepEqual(sameMachines([answer("1", "ready\n"), answer("2", "ready\n")]), []);
});

test("docs/preflight.md tells of every check", () => {
  const script = readFileSync(join(projectDirectory, "components/host/preflight.sh"), "utf8");
  const page = readFileSync(join(projectDirectory, "docs/preflight.md"), "utf8");
  const called = [...script.matchAll(/^[^#\n]*\b(?:(?:problem|warning) "([^"$]*)|leftover (?:"([^"]*)"|(\w+)))/gm)];
  const texts = called.map((groups) => (groups.slice(1).find(Boolean) ?? "").replace(/ \($/, "").trim());
  const names = new Set(texts.filter(Boolean));
  assert.ok(names.size > 25, `${[...names]}`);
  for (const name of names) assert.ok(page.includes(name), `docs/preflight.md does not tell of: ${name}`);
});
