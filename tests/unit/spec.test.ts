/**
 * What a user may get wrong in a stack's configuration, and the whole text of what is said about it. Whether the stated
 * remedy helps on a real host is for the end-to-end tests.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { stagesOf } from "../../components/binaries/stages.ts";
import { planOf } from "../../components/host/plan.ts";
import { ConfigError, type Problem, parseCluster, type Surroundings } from "../../components/spec.ts";
import { unsupportedVersion } from "../../components/versions.ts";
import { makeKey } from "../plugin/sshd.ts";
import { directory, hostKey, key, type RawConfig, specOf, ssh, surroundings } from "./clusters.ts";

type Host = Record<string, unknown>;
interface Base extends RawConfig {
  hosts: [Host, Host];
}

const base = (): Base => ({
  hosts: [
    { name: "node1", address: "10.90.23.41", roles: ["control-plane", "worker"] },
    { name: "node2", address: "10.90.23.42", roles: ["worker"] },
  ],
  ssh: { ...ssh },
});

function problemsOf(config: RawConfig, around: Partial<Surroundings> = {}): readonly Problem[] {
  try {
    parseCluster(config, { ...surroundings, ...around });
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    for (const { what, got, expected, remedy } of error.problems) {
      for (const text of [what, got, expected, remedy]) {
        assert.ok(text.length > 0 && text.length < 600 && !text.includes("\n"), `readable: ${text.slice(0, 700)}`);
        assert.ok(error.message.includes(text), "the message holds every part");
      }
    }
    return error.problems;
  }
}

const correct = "correct it; see docs/config.md";
const set = "set it in the stack's file; see docs/config.md";
const label = "a DNS label: lower-case letters, digits and `-`";
const pathText = "a path, in one line";
const sha = "a SHA-256 in 64 lower-case hex digits";

/** What the schema refuses: the setting, the value as it is shown, what would be right. */
const invalid = (what: string, got: string, expected: string): Problem => ({
  what: `plainkube:${what} is not valid`,
  got,
  expected,
  remedy: correct,
});
const unknown = (what: string, got: string, expected: string, remedy: string): Problem => ({
  what: `plainkube:${what} is not a setting`,
  got: JSON.stringify(got),
  expected: `one of ${expected}`,
  remedy,
});
const noSuggestion = "remove it, or see docs/config.md for the right name";
const topLevel =
  "clusterName, system, hosts, ssh, versions, binaries, network, runtime, apiServer, kubelet, addons, overrides, certificates, users, proof";
const hostFields = "name, address, roles, port, user, hostKey, labels, taints";
const components = "etcd, kubeApiserver, kubeControllerManager, kubeScheduler, kubelet, kubeProxy";
const signals =
  "memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, containerfs.available, containerfs.inodesFree, pid.available";
const driver = "local-path, or the name of a driver that you install, like ebs.csi.aws.com";
/** A configuration with these storage classes. */
const classes = (c: Base, ...storageClasses: readonly object[]) => Object.assign(c, { addons: { storageClasses } });
const publicKey = "a whole public key as `ssh-keyscan` prints it after the host's name, like ssh-ed25519 AAAA…";
const reachable = "an address at which the other hosts reach it: not loopback, link-local or multicast";

const empty = join(directory, "empty");
await writeFile(empty, "");
const halfKey = join(directory, "half-key");
await writeFile(halfKey, key.privateKey.slice(0, -40));
const encrypted = await makeKey(join(directory, "encrypted"), "a passphrase");

/** A sound system without nodes. */
const apiOnly = () => ({
  system: "api-only",
  hosts: [{ name: "node1", address: "10.90.23.41", roles: ["control-plane"] }],
});
const withUser = (config: Base, change: object) =>
  Object.assign(config, { users: [{ name: "jane", groups: ["a"], ...change }] });

/** A file with an audit policy, beside the tests' own keys. */
async function policyFile(name: string, content: object): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, JSON.stringify(content));
  return path;
}
const policy = { apiVersion: "audit.k8s.io/v1", kind: "Policy" };
/** What is said of a policy file → the file. */
const policyFiles: Record<string, string> = {
  ENOENT: "no/such/policy.yaml",
  EISDIR: directory,
  "the file: expected object, received null": empty,
  "kind: expected Policy": await policyFile("kind", { ...policy, kind: "ConfigMap", rules: [{ level: "None" }] }),
  "apiVersion: expected audit.k8s.io/v1": await policyFile("version", {
    ...policy,
    apiVersion: "audit.k8s.io/v1beta1",
    rules: [{ level: "None" }],
  }),
  "rules: expected at least one rule": await policyFile("rules", { ...policy, rules: [] }),
  'rules.0: Unrecognized key: "resource"': await policyFile("key", {
    ...policy,
    rules: [{ level: "None", resource: "pods" }],
  }),
};
const revealingPolicy = await policyFile("revealing", {
  ...policy,
  rules: [
    { level: "Metadata", resources: [{ group: "", resources: ["secrets", "configmaps"] }] },
    { level: "Request", resources: [{ group: "", resources: ["serviceaccounts/*"] }] },
  ],
});

/** Origin → what is said of it. */
const origins: Record<string, string> = {
  "https://ui.example.com$": "not anchored at both ends",
  "^https://ui.example.com": "not anchored at both ends",
  "//ui.example.com\\$": "not anchored at both ends",
  "^https://a$|https://b$": "not anchored at both ends",
  ".*": "not anchored at both ends",
  "^https://(a$": "no regular expression: Unterminated group",
  "^https://a**$": "no regular expression: Nothing to repeat",
  "^https://(?!evil).*$": "no regular expression of Go's (RE2)",
  "^(https)://\\1$": "no regular expression of Go's (RE2)",
  "^https://a{1001}$": "no regular expression of Go's: it repeats up to 1000 times",
};

/** Name of the case → what changes in a sound configuration, and what is said about it. */
const cases: Record<string, readonly [change: (config: Base) => void, ...problems: Problem[]]> = {
  "unknown key": [(c) => Object.assign(c, { bananas: 1 }), unknown("bananas", "bananas", topLevel, noSuggestion)],
  "misspelled key": [
    (c) => Object.assign(c, { netwrok: {} }),
    unknown("netwrok", "netwrok", topLevel, "did you mean network?"),
  ],
  "misspelled key of a host": [
    (c) => Object.assign(c.hosts[1], { adress: "10.90.23.42" }),
    unknown("hosts[1].adress", "adress", hostFields, "did you mean address?"),
  ],
  "key in the wrong case": [
    (c) => Object.assign(c, { network: { podCIDR: "10.0.0.0/16" } }),
    unknown(
      "network.podCIDR",
      "podCIDR",
      "podCidr, nodeCidrMaskSize, serviceCidr, dnsDomain, mtu, kubeProxyMode, podNetwork, flannel",
      "did you mean podCidr?",
    ),
  ],
  "unknown key of a jump host": [
    (c) => Object.assign(c, { ssh: { ...ssh, jump: { address: "j.example.com", hostKey, proxy: 1 } } }),
    unknown("ssh.jump.proxy", "proxy", "address, port, user, hostKey", noSuggestion),
  ],
  "overrides of an unknown component": [
    (c) => Object.assign(c, { overrides: { kubeProxi: { flags: {} } } }),
    unknown("overrides.kubeProxi", "kubeProxi", components, "did you mean kubeProxy?"),
  ],
  "flags of a component that takes none": [
    (c) => Object.assign(c, { overrides: { etcd: { flags: { v: 1 } } } }),
    unknown("overrides.etcd.flags", "flags", "config", noSuggestion),
  ],
  "config of a component that has no file": [
    (c) => Object.assign(c, { overrides: { kubeApiserver: { config: {} } } }),
    unknown("overrides.kubeApiserver.config", "config", "flags", noSuggestion),
  ],
  "unknown eviction signal": [
    (c) => Object.assign(c, { runtime: { evictionHard: { "memory.availabel": "1Gi" } } }),
    unknown("runtime.evictionHard.memory.availabel", "memory.availabel", signals, "did you mean memory.available?"),
  ],
  "hosts missing": [
    (c) => Object.assign(c, { hosts: undefined }),
    { what: "plainkube:hosts is missing", got: "nothing", expected: "a list of hosts", remedy: set },
  ],
  "hosts null": [(c) => Object.assign(c, { hosts: null }), invalid("hosts", "null", "a list of hosts")],
  "hosts as text": [(c) => Object.assign(c, { hosts: "node1" }), invalid("hosts", '"node1"', "a list of hosts")],
  "hosts as an object": [
    (c) => Object.assign(c, { hosts: { node1: "10.90.23.41" } }),
    invalid("hosts", '{"node1":"10.90.23.41"}', "a list of hosts"),
  ],
  "no hosts": [(c) => Object.assign(c, { hosts: [] }), invalid("hosts", "[]", "at least one host")],
  "a host as text": [
    (c) => Object.assign(c.hosts, { 1: "10.90.23.42" }),
    invalid("hosts[1]", '"10.90.23.42"', `an object with ${hostFields}`),
  ],
  "name missing": [
    (c) => delete c.hosts[1].name,
    { what: "plainkube:hosts[1].name is missing", got: "nothing", expected: label, remedy: set },
  ],
  "name that YAML reads as a number": [
    (c) => Object.assign(c.hosts[1], { name: 2 }),
    invalid("hosts[1].name", "2", label),
  ],
  "name in upper case": [
    (c) => Object.assign(c.hosts[1], { name: "Node2" }),
    invalid("hosts[1].name", '"Node2"', label),
  ],
  "name for a shell": [
    (c) => Object.assign(c.hosts[1], { name: "n$(reboot)" }),
    invalid("hosts[1].name", '"n$(reboot)"', label),
  ],
  "name for a path": [(c) => Object.assign(c.hosts[1], { name: "../n" }), invalid("hosts[1].name", '"../n"', label)],
  "name with a newline at its end": [
    (c) => Object.assign(c.hosts[1], { name: "n\n" }),
    invalid("hosts[1].name", '"n\\n"', label),
  ],
  "name in unicode": [
    (c) => Object.assign(c.hosts[1], { name: "knöten" }),
    invalid("hosts[1].name", '"knöten"', label),
  ],
  "name too long": [
    (c) => Object.assign(c.hosts[1], { name: "n".repeat(64) }),
    invalid("hosts[1].name", `"${"n".repeat(64)}"`, `${label} of at most 63 characters`),
  ],
  "name of a million letters": [
    (c) => Object.assign(c.hosts[1], { name: "n".repeat(1e6) }),
    invalid("hosts[1].name", `"${"n".repeat(116)}…`, `${label} of at most 63 characters`),
  ],
  "address with a letter": [
    (c) => Object.assign(c.hosts[1], { address: "10.90.23.4O" }),
    invalid("hosts[1].address", '"10.90.23.4O"', "an IPv4 address, like 10.90.23.41"),
  ],
  "address out of range": [
    (c) => Object.assign(c.hosts[1], { address: "10.90.23.256" }),
    invalid("hosts[1].address", '"10.90.23.256"', "an IPv4 address, like 10.90.23.41"),
  ],
  "address with leading zeros": [
    (c) => Object.assign(c.hosts[1], { address: "10.90.023.042" }),
    invalid("hosts[1].address", '"10.90.023.042"', "an IPv4 address, like 10.90.23.41"),
  ],
  "IPv6 address": [
    (c) => Object.assign(c.hosts[1], { address: "fd00::1" }),
    invalid("hosts[1].address", '"fd00::1"', "an IPv4 address, like 10.90.23.41"),
  ],
  "loopback address": [
    (c) => Object.assign(c.hosts[1], { address: "127.0.0.1" }),
    invalid("hosts[1].address", '"127.0.0.1"', reachable),
  ],
  "link-local address": [
    (c) => Object.assign(c.hosts[1], { address: "169.254.1.1" }),
    invalid("hosts[1].address", '"169.254.1.1"', reachable),
  ],
  "multicast address": [
    (c) => Object.assign(c.hosts[1], { address: "239.1.2.3" }),
    invalid("hosts[1].address", '"239.1.2.3"', reachable),
  ],
  "unknown role": [
    (c) => Object.assign(c.hosts[1], { roles: ["worker", "master"] }),
    invalid("hosts[1].roles[1]", '"master"', "control-plane or worker"),
  ],
  "role as text": [
    (c) => Object.assign(c.hosts[1], { roles: "worker" }),
    invalid("hosts[1].roles", '"worker"', "a list of roles"),
  ],
  "no roles": [
    (c) => Object.assign(c.hosts[1], { roles: [] }),
    invalid("hosts[1].roles", "[]", "at least one of control-plane, worker"),
  ],
  "port 0": [(c) => Object.assign(c.hosts[1], { port: 0 }), invalid("hosts[1].port", "0", "a port from 1 to 65535")],
  "port too high": [
    (c) => Object.assign(c.hosts[1], { port: 65536 }),
    invalid("hosts[1].port", "65536", "a port from 1 to 65535"),
  ],
  "port as text": [
    (c) => Object.assign(c.hosts[1], { port: "22" }),
    invalid("hosts[1].port", '"22"', "a port from 1 to 65535"),
  ],
  "half a port": [
    (c) => Object.assign(c.hosts[1], { port: 22.5 }),
    invalid("hosts[1].port", "22.5", "a port from 1 to 65535"),
  ],
  "user that is an option": [
    (c) => Object.assign(c.hosts[1], { user: "-oProxyCommand=reboot" }),
    invalid("hosts[1].user", '"-oProxyCommand=reboot"', "a Linux user name"),
  ],
  "host key that is none": [
    (c) => Object.assign(c.hosts[1], { hostKey: "SHA256:abcdef" }),
    invalid("hosts[1].hostKey", '"SHA256:abcdef"', publicKey),
  ],
  "host key cut off": [
    (c) => Object.assign(c.hosts[1], { hostKey: hostKey.slice(0, -8) }),
    invalid("hosts[1].hostKey", `"${hostKey.slice(0, -8)}"`, publicKey),
  ],
  "host key of another type than it says": [
    (c) => Object.assign(c.hosts[1], { hostKey: hostKey.replace("ssh-ed25519", "ssh-rsa") }),
    invalid("hosts[1].hostKey", `"${hostKey.replace("ssh-ed25519", "ssh-rsa")}"`, publicKey),
  ],
  "private key for a host key": [
    (c) => Object.assign(c.hosts[1], { hostKey: key.privateKey }),
    invalid("hosts[1].hostKey", '"[secret]"', publicKey),
  ],
  "label key with a space": [
    (c) => Object.assign(c.hosts[1], { labels: { "a b": "c" } }),
    {
      what: "plainkube:hosts[1].labels has a bad name",
      got: '"a b"',
      expected: "a label key, like example.com/rack",
      remedy: "correct the name; see docs/config.md",
    },
  ],
  "label key with an empty part": [
    (c) => Object.assign(c.hosts[1], { labels: { "a..b/c": "d" } }),
    {
      what: "plainkube:hosts[1].labels has a bad name",
      got: '"a..b/c"',
      expected: "a label key, like example.com/rack",
      remedy: "correct the name; see docs/config.md",
    },
  ],
  "label value that YAML reads as a boolean": [
    (c) => Object.assign(c.hosts[1], { labels: { gpu: true } }),
    invalid(
      "hosts[1].labels.gpu",
      "true",
      'a label value: text of letters, digits, `-`, `_` and `.`, quoted if it is like a number or "true"',
    ),
  ],
  "label that would be two": [
    (c) => Object.assign(c.hosts[1], { labels: { gpu: "a,b=c" } }),
    invalid(
      "hosts[1].labels.gpu",
      '"a,b=c"',
      'a label value: text of letters, digits, `-`, `_` and `.`, quoted if it is like a number or "true"',
    ),
  ],
  "reserved label": [
    (c) => Object.assign(c.hosts[1], { labels: { "node-role.kubernetes.io/worker": "" } }),
    {
      what: "plainkube:hosts[1].labels has a label that a kubelet may not set",
      got: "node-role.kubernetes.io/worker",
      expected:
        "a label outside kubernetes.io and k8s.io, below node.kubernetes.io or kubelet.kubernetes.io, or one of topology.kubernetes.io/region, topology.kubernetes.io/zone",
      remedy: "remove it, and set it with `kubectl label node node2`",
    },
  ],
  "misspelled taint effect": [
    (c) => Object.assign(c.hosts[1], { taints: [{ key: "a", effect: "NoSchedul" }] }),
    invalid("hosts[1].taints[0].effect", '"NoSchedul"', "NoSchedule, PreferNoSchedule or NoExecute"),
  ],
  "taint as text": [
    (c) => Object.assign(c.hosts[1], { taints: ["a=b:NoSchedule"] }),
    invalid("hosts[1].taints[0]", '"a=b:NoSchedule"', "an object with key, value, effect"),
  ],
  "taint twice": [
    (c) =>
      Object.assign(c.hosts[1], {
        taints: [
          { key: "a", value: "1", effect: "NoSchedule" },
          { key: "a", value: "2", effect: "NoSchedule" },
        ],
      }),
    {
      what: "plainkube:hosts[1].taints has a taint twice",
      got: "a:NoSchedule",
      expected: "a key and effect once (the API's rule)",
      remedy: "remove one of them",
    },
  ],
  "a taint on every worker": [
    (c) => {
      for (const h of c.hosts) h.taints = [{ key: "a", effect: "NoExecute" }];
    },
    {
      what: "plainkube:hosts has no worker for CoreDNS and the proof",
      got: "a taint NoSchedule or NoExecute on every worker",
      expected: "at least one worker without such a taint",
      remedy: "remove the taint from one worker, or make it PreferNoSchedule",
    },
  ],
  "name twice": [
    (c) => Object.assign(c.hosts[1], { name: "node1" }),
    {
      what: "plainkube:hosts has the name node1 twice",
      got: "hosts[0] and hosts[1]",
      expected: "each name once",
      remedy: "give each host its own",
    },
  ],
  "address twice": [
    (c) => Object.assign(c.hosts[1], { address: "10.90.23.41" }),
    {
      what: "plainkube:hosts has the address 10.90.23.41 twice",
      got: "hosts[0] and hosts[1]",
      expected: "each address once",
      remedy: "give each host its own",
    },
  ],
  "name three times": [
    (c) => {
      for (const h of c.hosts) h.name = "n";
      c.hosts.push({ name: "n", address: "10.90.23.43", roles: ["worker"], hostKey });
    },
    {
      what: "plainkube:hosts has the name n 3 times",
      got: "hosts[0] and hosts[1] and hosts[2]",
      expected: "each name once",
      remedy: "give each host its own",
    },
  ],
  "no control plane": [
    (c) => Object.assign(c.hosts[0], { roles: ["worker"] }),
    {
      what: "plainkube:hosts has no control plane",
      got: "none",
      expected: "exactly one host with the role control-plane",
      remedy: "add control-plane to the roles of one host",
    },
  ],
  "two control planes": [
    (c) => Object.assign(c.hosts[1], { roles: ["control-plane", "worker"] }),
    {
      what: "plainkube:hosts has several control planes",
      got: "node1, node2",
      expected: "exactly one host with the role control-plane",
      remedy: "keep the role on one host",
    },
  ],
  "no worker": [
    (c) => {
      c.hosts.pop();
      c.hosts[0].roles = ["control-plane"];
    },
    {
      what: "plainkube:hosts has no worker",
      got: "none",
      expected: "at least one host with the role worker",
      remedy: "add worker to a host's roles",
    },
  ],
  "missing host key": [
    (c) => Object.assign(c.hosts[1], { address: "10.90.23.43" }),
    {
      what: "plainkube:hosts[1] (node2) has no pinned host key",
      got: `no entry for 10.90.23.43 (port 22) in ${ssh.knownHostsFile}`,
      expected: "hostKey in the configuration, or an entry in the known_hosts file",
      remedy: `after comparing the fingerprint: ssh-keyscan -t ed25519 -p 22 10.90.23.43 >> ${ssh.knownHostsFile}`,
    },
  ],
  "host key for another port": [
    (c) => Object.assign(c.hosts[1], { port: 2222 }),
    {
      what: "plainkube:hosts[1] (node2) has no pinned host key",
      got: `no entry for 10.90.23.42 (port 2222) in ${ssh.knownHostsFile}`,
      expected: "hostKey in the configuration, or an entry in the known_hosts file",
      remedy: `after comparing the fingerprint: ssh-keyscan -t ed25519 -p 2222 10.90.23.42 >> ${ssh.knownHostsFile}`,
    },
  ],
  "missing host key of the jump host": [
    (c) => Object.assign(c, { ssh: { ...ssh, jump: { address: "jump.example.com" } } }),
    {
      what: "plainkube:ssh.jump has no pinned host key",
      got: `no entry for jump.example.com (port 22) in ${ssh.knownHostsFile}`,
      expected: "hostKey in the configuration, or an entry in the known_hosts file",
      remedy: `after comparing the fingerprint: ssh-keyscan -t ed25519 -p 22 jump.example.com >> ${ssh.knownHostsFile}`,
    },
  ],
  "jump host with three numbers": [
    (c) => Object.assign(c, { ssh: { ...ssh, jump: { address: "10.90.23" } } }),
    invalid("ssh.jump.address", '"10.90.23"', "a DNS name or IPv4 address"),
  ],
  "SSH key that is not there": [
    (c) => Object.assign(c, { ssh: { ...ssh, privateKeyFile: "no/such/key" } }),
    {
      what: "plainkube:ssh.privateKeyFile cannot be read",
      got: "no/such/key: ENOENT",
      expected: "a readable file",
      remedy: "correct the path or its permissions, or leave it out to use the SSH agent",
    },
  ],
  "SSH key that is a folder": [
    (c) => Object.assign(c, { ssh: { ...ssh, privateKeyFile: directory } }),
    {
      what: "plainkube:ssh.privateKeyFile cannot be read",
      got: `${directory}: EISDIR`,
      expected: "a readable file",
      remedy: "correct the path or its permissions, or leave it out to use the SSH agent",
    },
  ],
  ...Object.fromEntries(
    Object.entries({ "public half": `${key.path}.pub`, "empty file": empty, "half of it": halfKey }).map(
      ([name, file]) => [
        `SSH key: ${name}`,
        [
          (c: Base) => Object.assign(c, { ssh: { ...ssh, privateKeyFile: file } }),
          {
            what: "plainkube:ssh.privateKeyFile holds no whole private key",
            got: file,
            expected: "a private key in PEM or OpenSSH format",
            remedy: "name the file without .pub, as ssh-keygen wrote it",
          },
        ] as const,
      ],
    ),
  ),
  "SSH key with a passphrase that is not given": [
    (c) => Object.assign(c, { ssh: { ...ssh, privateKeyFile: encrypted.path } }),
    {
      what: "plainkube:ssh.privateKeyFile needs a passphrase",
      got: `${encrypted.path}, which is encrypted, and no ssh.privateKeyPassword`,
      expected: "its passphrase, or a key without one",
      remedy:
        "pulumi config set --secret --path plainkube:ssh.privateKeyPassword, or leave the file out to use the SSH agent",
    },
  ],
  "SSH key itself instead of its path": [
    (c) => Object.assign(c, { ssh: { ...ssh, privateKeyFile: key.privateKey } }),
    invalid("ssh.privateKeyFile", '"[secret]"', pathText),
  ],
  "passphrase as a number": [
    (c) => Object.assign(c, { ssh: { ...ssh, privateKeyPassword: 1234 } }),
    invalid("ssh.privateKeyPassword", "[secret]", "text"),
  ],
  "ssh as a list": [
    (c) => Object.assign(c, { ssh: [{ privateKeyPassword: "1234" }] }),
    invalid(
      "ssh",
      '[{"privateKeyPassword":"[secret]"}]',
      "an object with privateKeyFile, privateKeyPassword, knownHostsFile, dialAttempts, dialTimeoutSeconds, jump",
    ),
  ],
  "ssh as text that is no JSON": [
    (c) => Object.assign(c, { ssh: '{"privateKeyPassword": "1234",}' }),
    invalid(
      "ssh",
      '"[secret]"',
      "an object with privateKeyFile, privateKeyPassword, knownHostsFile, dialAttempts, dialTimeoutSeconds, jump",
    ),
  ],
  "known_hosts without a path": [
    (c) => Object.assign(c, { ssh: { ...ssh, knownHostsFile: "" } }),
    invalid("ssh.knownHostsFile", '""', "a path"),
  ],
  "pod CIDR without a prefix length": [
    (c) => Object.assign(c, { network: { podCidr: "10.244.0.0" } }),
    invalid("network.podCidr", '"10.244.0.0"', "an IPv4 CIDR, like 10.96.0.0/16"),
  ],
  "pod CIDR of /33": [
    (c) => Object.assign(c, { network: { podCidr: "10.244.0.0/33" } }),
    invalid("network.podCidr", '"10.244.0.0/33"', "an IPv4 CIDR, like 10.96.0.0/16"),
  ],
  "IPv6 service CIDR": [
    (c) => Object.assign(c, { network: { serviceCidr: "fd00::/108" } }),
    invalid("network.serviceCidr", '"fd00::/108"', "an IPv4 CIDR, like 10.96.0.0/16"),
  ],
  "overlapping CIDRs": [
    (c) => Object.assign(c, { network: { podCidr: "10.96.0.0/12", serviceCidr: "10.100.0.0/16" } }),
    {
      what: "plainkube:network.podCidr and plainkube:network.serviceCidr overlap",
      got: "10.96.0.0/12 and 10.100.0.0/16",
      expected: "two ranges with no address in common",
      remedy: "change one of them",
    },
  ],
  "a host inside the pod CIDR": [
    (c) => Object.assign(c, { network: { podCidr: "10.90.23.42/32", nodeCidrMaskSize: 28 }, runtime: { maxPods: 13 } }),
    {
      what: "plainkube:hosts[1].address lies in plainkube:network.podCidr",
      got: "10.90.23.42 in 10.90.23.42/32",
      expected: "a host's address outside the addresses of pods",
      remedy: "choose another network.podCidr",
    },
    {
      what: "plainkube:network.podCidr is too small for the hosts",
      got: "10.90.23.42/32 in shares of /28 for 2 hosts",
      expected: "a share for each host",
      remedy: "widen network.podCidr or raise network.nodeCidrMaskSize",
    },
  ],
  "a host inside the service CIDR": [
    (c) => Object.assign(c, { network: { serviceCidr: "10.90.23.32/28" } }),
    ...[1, 2].map((n) => ({
      what: `plainkube:hosts[${n - 1}].address lies in plainkube:network.serviceCidr`,
      got: `10.90.23.4${n} in 10.90.23.32/28`,
      expected: "a host's address outside the addresses of Services",
      remedy: "choose another network.serviceCidr",
    })),
  ],
  "host bits set": [
    (c) => Object.assign(c, { network: { podCidr: "10.244.1.0/16" } }),
    {
      what: "plainkube:network.podCidr has host bits set",
      got: "10.244.1.0/16",
      expected: "a network's first address",
      remedy: "use 10.244.0.0/16",
    },
  ],
  ...Object.fromEntries(
    ["10.96.0.0/29", "11.0.0.0/8"].map((cidr) => [
      `service CIDR ${cidr}`,
      [
        (c: Base) => Object.assign(c, { network: { serviceCidr: cidr } }),
        {
          what: "plainkube:network.serviceCidr has an unusable size",
          got: cidr,
          expected: "a prefix length from 12 (kube-apiserver's limit) to 28 (CoreDNS takes the tenth address)",
          remedy: "choose another range",
        },
      ] as const,
    ]),
  ),
  "node CIDRs larger than the pod CIDR": [
    (c) => Object.assign(c, { network: { podCidr: "10.244.0.0/24", nodeCidrMaskSize: 23 } }),
    {
      what: "plainkube:network.podCidr is too small for the hosts",
      got: "10.244.0.0/24 in shares of /23 for 2 hosts",
      expected: "a share for each host",
      remedy: "widen network.podCidr or raise network.nodeCidrMaskSize",
    },
  ],
  "node CIDRs too many": [
    (c) => Object.assign(c, { network: { podCidr: "100.0.0.0/8", nodeCidrMaskSize: 25 } }),
    {
      what: "plainkube:network.nodeCidrMaskSize is too far from the prefix of podCidr",
      got: "/25 in 100.0.0.0/8",
      expected: "at most 16 bits between them (kube-controller-manager's limit)",
      remedy: "lower network.nodeCidrMaskSize or narrow network.podCidr",
    },
  ],
  "node CIDRs too small for the pods": [
    (c) => Object.assign(c, { network: { nodeCidrMaskSize: 26 } }),
    {
      what: "plainkube:network.nodeCidrMaskSize leaves a node too few addresses for its pods",
      got: "61 addresses in a /26 for 110 pods (runtime.maxPods)",
      expected: "an address for each pod",
      remedy: "lower network.nodeCidrMaskSize, or runtime.maxPods to 61",
    },
  ],
  "nodeCidrMaskSize out of range": [
    (c) => Object.assign(c, { network: { nodeCidrMaskSize: 30 } }),
    invalid("network.nodeCidrMaskSize", "30", "a prefix length from 16 to 28"),
  ],
  "DNS domain with a dot at its end": [
    (c) => Object.assign(c, { network: { dnsDomain: "cluster.local." } }),
    invalid("network.dnsDomain", '"cluster.local."', "a DNS domain"),
  ],
  "DNS domain that would end a block": [
    (c) => Object.assign(c, { network: { dnsDomain: "a {\n}\n" } }),
    invalid("network.dnsDomain", '"a {\\n}\\n"', "a DNS domain"),
  ],
  "MTU between 0 and 1280": [
    (c) => Object.assign(c, { network: { mtu: 576 } }),
    invalid("network.mtu", "576", "0 or an MTU from 1280 to 9216"),
  ],
  "negative MTU": [
    (c) => Object.assign(c, { network: { mtu: -1 } }),
    invalid("network.mtu", "-1", "0 or an MTU from 1280 to 9216"),
  ],
  "nftables before kube-proxy had it": [
    (c) => Object.assign(c, { network: { kubeProxyMode: "nftables" }, versions: { kubernetes: "1.30.14" } }),
    {
      what: "plainkube:network.kubeProxyMode needs a newer Kubernetes",
      got: "nftables with 1.30.14",
      expected: "versions.kubernetes from 1.31, which has this mode without a feature gate",
      remedy: "use iptables, or raise versions.kubernetes",
    },
    unsupportedVersion("1.30.14"),
  ],
  "an unknown mode of kube-proxy": [
    (c) => Object.assign(c, { network: { kubeProxyMode: "ipvs" } }),
    invalid("network.kubeProxyMode", '"ipvs"', "iptables or nftables"),
  ],
  "another mode as an override": [
    (c) => Object.assign(c, { overrides: { kubeProxy: { config: { mode: "ipvs" } } } }),
    {
      what: "plainkube:overrides.kubeProxy.config.mode differs from plainkube:network.kubeProxyMode",
      got: '"ipvs" and iptables',
      expected: "one mode: the hosts' tools, their masquerading and host ports go by it, too",
      remedy: "set network.kubeProxyMode, and leave the override out",
    },
  ],
  "an unknown pod network": [
    (c) => Object.assign(c, { network: { podNetwork: "weave" } }),
    invalid("network.podNetwork", '"weave"', "routes or flannel"),
  ],
  "flannel on a host without a kubelet": [
    (c) => {
      c.hosts[0].roles = ["control-plane"];
      Object.assign(c, { network: { podNetwork: "flannel" } });
    },
    {
      what: "plainkube:hosts[0] (node1) cannot be part of plainkube:network.podNetwork flannel",
      got: "control-plane",
      expected: "the role worker: flanneld keeps a host's lease in its Node, and only a kubelet makes one",
      remedy: "add worker to its roles, with a taint NoSchedule if it shall take no pods; or use podNetwork routes",
    },
  ],
  "flannel's settings without flannel": [
    (c) => Object.assign(c, { network: { flannel: { vni: 2 } } }),
    {
      what: "plainkube:network.flannel has no effect",
      got: "podNetwork routes",
      expected: "these settings only with podNetwork flannel",
      remedy: "set network.podNetwork to flannel, or leave network.flannel out",
    },
  ],
  "flannel at a node port": [
    (c) => Object.assign(c, { network: { podNetwork: "flannel", flannel: { port: 30472 } } }),
    {
      what: "plainkube:network.flannel.port lies among the node ports",
      got: "30472",
      expected: "a UDP port outside 30000-32767, which kube-proxy takes for Services",
      remedy: "choose another, like 8472 or 4789",
    },
  ],
  "a VXLAN identifier of 0": [
    (c) => Object.assign(c, { network: { podNetwork: "flannel", flannel: { vni: 0 } } }),
    invalid("network.flannel.vni", "0", "at least 1"),
  ],
  "unsupported version": [
    (c) => Object.assign(c, { versions: { kubernetes: "1.12.0" } }),
    {
      what: "plainkube:versions.kubernetes is not supported",
      got: "1.12.0",
      expected: "one of 1.36.3, 1.35.4, 1.34.10, 1.27.2, 1.26.3",
      remedy: "set one of these, or add a set with its checksums to components/versions.ts",
    },
  ],
  "flag of another version": [
    (c) => Object.assign(c, { overrides: { kubelet: { flags: { "pod-infra-container-image": "pause" } } } }),
    {
      what: "plainkube:overrides.kubelet.flags has something that kubelet 1.36.3 does not know",
      got: "--pod-infra-container-image",
      expected: "a flag of kubelet 1.34.10 or 1.27.2 or 1.26.3",
      remedy: "remove it, or set versions.kubernetes accordingly",
    },
  ],
  "misspelled flag": [
    (c) => Object.assign(c, { overrides: { kubeScheduler: { flags: { kubeconfg: "/x" } } } }),
    {
      what: "plainkube:overrides.kubeScheduler.flags has something that kube-scheduler 1.36.3 does not know",
      got: "--kubeconfg",
      expected: "a flag of kube-scheduler 1.36.3",
      remedy: "did you mean --kubeconfig?",
    },
  ],
  "flag and fields that no version has": [
    (c) =>
      Object.assign(c, {
        overrides: {
          kubeApiserver: { flags: { bananas: true } },
          kubeProxy: { config: { Mode: "nftables", pears: 1 } },
        },
      }),
    {
      what: "plainkube:overrides.kubeApiserver.flags has something that kube-apiserver 1.36.3 does not know",
      got: "--bananas",
      expected: "a flag of kube-apiserver 1.36.3",
      remedy: "remove it",
    },
    {
      what: "plainkube:overrides.kubeProxy.config has something that kube-proxy 1.36.3 does not know",
      got: "Mode",
      expected: "a field of the configuration file of kube-proxy 1.36.3",
      remedy: "did you mean mode?",
    },
    {
      what: "plainkube:overrides.kubeProxy.config has something that kube-proxy 1.36.3 does not know",
      got: "pears",
      expected: "a field of the configuration file of kube-proxy 1.36.3",
      remedy: "remove it",
    },
  ],
  "fields and a setting of newer versions": [
    (c) =>
      Object.assign(c, {
        versions: { kubernetes: "1.27.2" },
        runtime: { evictionHard: { "containerfs.available": "1Gi" } },
        overrides: { etcd: { config: { "tls-min-version": "TLS1.3" } }, kubelet: { config: { failCgroupV1: false } } },
      }),
    {
      what: "plainkube:overrides.etcd.config has something that etcd 3.5.7 does not know",
      got: "tls-min-version",
      expected: "a field of the configuration file of etcd 3.6.8",
      remedy: "remove it, or set versions.kubernetes accordingly",
    },
    {
      what: "plainkube:overrides.kubelet.config has something that kubelet 1.27.2 does not know",
      got: "failCgroupV1",
      expected: "a field of the configuration file of kubelet 1.36.3 or 1.35.4 or 1.34.10",
      remedy: "remove it, or set versions.kubernetes accordingly",
    },
    {
      what: "plainkube:runtime.evictionHard.containerfs.available needs a newer Kubernetes",
      got: '"1Gi" with 1.27.2',
      expected: "Kubernetes 1.29 or newer",
      remedy: "change one of them",
    },
  ],
  "version with a v": [
    (c) => Object.assign(c, { versions: { kubernetes: "v1.36.3" } }),
    invalid("versions.kubernetes", '"v1.36.3"', "a version like 1.36.3"),
  ],
  "version that YAML reads as a number": [
    (c) => Object.assign(c, { versions: { kubernetes: 1.36 } }),
    invalid("versions.kubernetes", "1.36", "a version like 1.36.3"),
  ],
  "version as text": [
    (c) => Object.assign(c, { versions: "1.36.3" }),
    invalid("versions", '"1.36.3"', "an object with kubernetes"),
  ],
  "unknown source": [
    (c) => Object.assign(c, { binaries: { source: "internet" } }),
    invalid("binaries.source", '"internet"', "auto, release, mirror, modules or directory"),
  ],
  "mirror without its URL": [
    (c) => Object.assign(c, { binaries: { source: "mirror" } }),
    {
      what: "plainkube:binaries.mirror is missing",
      got: "nothing",
      expected: "a value, as binaries.source is mirror",
      remedy: "set binaries.mirror",
    },
  ],
  "mirror without a scheme": [
    (c) => Object.assign(c, { binaries: { source: "mirror", mirror: "mirror.example.com" } }),
    invalid("binaries.mirror", '"mirror.example.com"', "an http or https URL"),
  ],
  "mirror with a password": [
    (c) => Object.assign(c, { binaries: { source: "mirror", mirror: "https://me:secret@mirror.example.com" } }),
    invalid(
      "binaries.mirror",
      '"https://[secret]@mirror.example.com"',
      "an http or https URL without user, password, query or fragment",
    ),
  ],
  "directory without its path": [
    (c) => Object.assign(c, { binaries: { source: "directory" } }),
    {
      what: "plainkube:binaries.directory is missing",
      got: "nothing",
      expected: "a value, as binaries.source is directory",
      remedy: "set binaries.directory",
    },
  ],
  "directory that is not there": [
    (c) => Object.assign(c, { binaries: { source: "directory", directory: "no/such/folder" } }),
    {
      what: "plainkube:binaries.directory is not a folder",
      got: "no/such/folder: not there",
      expected: "a folder that holds the binaries, absolute or relative to the project",
      remedy: "correct the path",
    },
  ],
  "directory that is a file": [
    (c) => Object.assign(c, { binaries: { source: "directory", directory: key.path } }),
    {
      what: "plainkube:binaries.directory is not a folder",
      got: `${key.path}: a file`,
      expected: "a folder that holds the binaries, absolute or relative to the project",
      remedy: "correct the path",
    },
  ],
  "checksum that is too short": [
    (c) => Object.assign(c, { binaries: { checksums: { kubelet: "abcd" } } }),
    invalid("binaries.checksums.kubelet", '"abcd"', sha),
  ],
  "checksum of something unknown": [
    (c) => Object.assign(c, { binaries: { checksums: { "kubelt-amd64": "0".repeat(64) } } }),
    {
      what: "plainkube:binaries.checksums names something unknown",
      got: "kubelt-amd64",
      expected:
        "one of kubernetes-server, etcd, containerd, runc, cni-plugins, coredns, flanneld, kube-apiserver, kube-controller-manager, kube-scheduler, containerd-shim-runc-v2, ctr, bridge, host-local, loopback, portmap, pause.tar, coredns.tar, workload.tar, kubelet, kube-proxy, kubectl, with -amd64 or -arm64 behind it for one architecture",
      remedy: "did you mean kubelet?",
    },
  ],
  "unknown cgroup driver": [
    (c) => Object.assign(c, { runtime: { cgroupDriver: "docker" } }),
    invalid("runtime.cgroupDriver", '"docker"', "systemd or cgroupfs"),
  ],
  "yes for a boolean": [
    (c) => Object.assign(c, { runtime: { allowCgroupV1: "yes" } }),
    invalid("runtime.allowCgroupV1", '"yes"', "true or false"),
  ],
  "a million pods": [
    (c) => Object.assign(c, { runtime: { maxPods: 1e6 } }),
    invalid("runtime.maxPods", "1000000", "at most 500"),
  ],
  ...Object.fromEntries(
    ["0", "101%", "-1Gi", "10 %", "1KB", "lots"].map((quantity) => [
      `threshold ${quantity}`,
      [
        (c: Base) => Object.assign(c, { runtime: { evictionHard: { "nodefs.available": quantity } } }),
        invalid(
          "runtime.evictionHard.nodefs.available",
          JSON.stringify(quantity),
          "a quantity like 100Mi or a percentage like 10%",
        ),
      ] as const,
    ]),
  ),
  ...Object.fromEntries(
    ["--v", "v=1", "v 1", "", "a\nExecStartPre=/bin/false", "audit_log"].map((flag) => [
      `flag named ${JSON.stringify(flag)}`,
      [
        (c: Base) => Object.assign(c, { overrides: { kubelet: { flags: { [flag]: 1 } } } }),
        {
          what: "plainkube:overrides.kubelet.flags has a bad name",
          got: JSON.stringify(flag),
          expected: "a flag's name without its leading dashes",
          remedy: "correct the name; see docs/config.md",
        },
      ] as const,
    ]),
  ),
  ...Object.fromEntries(
    (["a\nExecStartPost=/bin/false", "a\u0000", "a\u2028b", null, ["a"], { a: 1 }] as const).map((value) => [
      `flag set to ${JSON.stringify(value)}`,
      [
        (c: Base) => Object.assign(c, { overrides: { kubeApiserver: { flags: { v: value } } } }),
        invalid(
          "overrides.kubeApiserver.flags.v",
          JSON.stringify(value),
          typeof value === "string"
            ? "text in one line"
            : "text in one line of at most 4096 characters, a number, true or false",
        ),
      ] as const,
    ]),
  ),
  "no authorization mode": [
    (c) => Object.assign(c, { apiServer: { authorizationModes: [] } }),
    invalid("apiServer.authorizationModes", "[]", "at least one mode"),
  ],
  "unknown authorization mode": [
    (c) => Object.assign(c, { apiServer: { authorizationModes: ["Node", "Rbac"] } }),
    invalid("apiServer.authorizationModes[1]", '"Rbac"', "one of Node, RBAC, AlwaysAllow, AlwaysDeny, ABAC, Webhook"),
  ],
  "everything allowed": [
    (c) => Object.assign(c, { apiServer: { authorizationModes: ["Node", "RBAC", "AlwaysAllow"] } }),
    {
      what: "plainkube:apiServer.authorizationModes has AlwaysAllow",
      got: "AlwaysAllow, which lets every client do everything",
      expected: "Node and RBAC",
      remedy: "remove it",
    },
  ],
  "authorization by a file that nobody places, and a mode twice": [
    (c) => Object.assign(c, { apiServer: { authorizationModes: ["Node", "RBAC", "Webhook", "Node"] } }),
    {
      what: "plainkube:apiServer.authorizationModes names a mode twice",
      got: "Node",
      expected: "each mode once",
      remedy: "remove one of them",
    },
    {
      what: "plainkube:apiServer.authorizationModes has Webhook",
      got: "Webhook, which needs a file that no setting places on the host",
      expected: "Node and RBAC",
      remedy:
        "place the file yourself, and set authorization-mode and the file's flag in overrides.kubeApiserver.flags",
    },
  ],
  "kubelets without rights": [
    (c) => Object.assign(c, { apiServer: { authorizationModes: ["RBAC"] } }),
    {
      what: "plainkube:apiServer.authorizationModes leaves components without rights",
      got: "RBAC",
      expected: "Node, which kubelets have their rights from, and RBAC, which all other components have theirs from",
      remedy: "add Node",
    },
  ],
  "admission plugins that are unknown, misspelt, on and off": [
    (c) =>
      Object.assign(c, {
        apiServer: {
          admissionPlugins: {
            enable: ["NodeRestriction", "PodSecurityPolicy", "AlwaysPullImages"],
            disable: ["Resourcequota", "AlwaysPullImages"],
          },
        },
      }),
    {
      what: "plainkube:apiServer.admissionPlugins.enable names a plugin that Kubernetes 1.36.3 does not have",
      got: "PodSecurityPolicy",
      expected: "one of its plugins (`kube-apiserver --help` lists them), spelt as upstream does",
      remedy: "remove it, or correct the name",
    },
    {
      what: "plainkube:apiServer.admissionPlugins.disable names a plugin that Kubernetes 1.36.3 does not have",
      got: "Resourcequota",
      expected: "one of its plugins (`kube-apiserver --help` lists them), spelt as upstream does",
      remedy: "did you mean ResourceQuota?",
    },
    {
      what: "plainkube:apiServer.admissionPlugins both enables and disables a plugin",
      got: "AlwaysPullImages",
      expected: "each plugin in one list",
      remedy: "remove it from one of them",
    },
  ],
  "audit rules that the API server would not start with": [
    (c) =>
      Object.assign(c, {
        apiServer: { audit: { rules: [{ level: "None", resources: [{ group: "*", resourceNames: ["a"] }] }] } },
      }),
    invalid("apiServer.audit.rules[0].resources[0].group", '"*"', 'an API group; the core group is ""'),
    invalid(
      "apiServer.audit.rules[0].resources[0].resourceNames",
      '["a"]',
      "none without resources: a name is one of a kind",
    ),
  ],
  "images that no registry has, and an unreal port of a proxy": [
    (c) =>
      Object.assign(c, {
        apiServer: {
          admissionPlugins: { enable: ["AlwaysPullImages"] },
          egressSelector: { etcd: "https://127.0.0.1:99999" },
        },
      }),
    invalid(
      "apiServer.egressSelector.etcd",
      '"https://127.0.0.1:99999"',
      "direct, a CONNECT proxy like https://proxy.example.com:8132, or its socket like unix:///run/proxy.sock",
    ),
    {
      what: "plainkube:apiServer.admissionPlugins.enable has AlwaysPullImages",
      got: "AlwaysPullImages, with which no pod starts whose image no registry has: those of plainkube itself",
      expected: "other plugins",
      remedy: "remove it",
    },
  ],
  "admission plugins that cannot work": [
    (c) => Object.assign(c, { apiServer: { admissionPlugins: { enable: ["EventRateLimit", "AlwaysDeny"] } } }),
    {
      what: "plainkube:apiServer.admissionPlugins.enable has a plugin that does not start without a configuration",
      got: "EventRateLimit",
      expected: "its configuration in apiServer.admissionPlugins.config",
      remedy: "add one, or remove the plugin",
    },
    {
      what: "plainkube:apiServer.admissionPlugins.enable has AlwaysDeny",
      got: "AlwaysDeny, which refuses every object",
      expected: "other plugins",
      remedy: "remove it",
    },
  ],
  "unknown audit preset": [
    (c) => Object.assign(c, { apiServer: { audit: { policy: "all" } } }),
    invalid("apiServer.audit.policy", '"all"', "none, writes or metadata"),
  ],
  "audit rule of an unknown level": [
    (c) => Object.assign(c, { apiServer: { audit: { rules: [{ level: "metadata" }] } } }),
    invalid("apiServer.audit.rules[0].level", '"metadata"', "None, Metadata, Request or RequestResponse"),
  ],
  "audit rule for two kinds of requests": [
    (c) =>
      Object.assign(c, {
        apiServer: { audit: { rules: [{ level: "None", namespaces: ["a"], nonResourceURLs: ["/x"] }] } },
      }),
    invalid(
      "apiServer.audit.rules[0].nonResourceURLs",
      '["/x"]',
      "none beside resources or namespaces: a rule is about resources, or about other paths",
    ),
  ],
  "audit log elsewhere": [
    (c) => Object.assign(c, { apiServer: { audit: { path: "/var/log/audit.log" } } }),
    invalid("apiServer.audit.path", '"/var/log/audit.log"', "a file in /var/log/plainkube, or - for the journal"),
  ],
  "several audit policies": [
    (c) => Object.assign(c, { apiServer: { audit: { policy: "metadata", rules: [{ level: "Metadata" }] } } }),
    {
      what: "plainkube:apiServer.audit has several policies",
      got: "policy and rules",
      expected: "one of policy, policyFile and rules",
      remedy: "keep one of them",
    },
  ],
  "audit rules that log Secrets": [
    (c) =>
      Object.assign(c, {
        apiServer: {
          audit: {
            rules: [
              { level: "Metadata", users: ["jane"], resources: [{ resources: ["secrets"] }] },
              { level: "RequestResponse" },
            ],
          },
        },
      }),
    {
      what: "plainkube:apiServer.audit.rules would log credentials",
      got: "rules[1] of level RequestResponse, for secrets",
      expected: "at most Metadata for secrets, serviceaccounts/token and tokenreviews (authentication.k8s.io)",
      remedy: "put a rule of level Metadata for these before it",
    },
  ],
  ...Object.fromEntries(
    Object.entries(policyFiles).map(([problem, policyFile]) => [
      `audit policy file: ${problem}`,
      [
        (c: Base) => Object.assign(c, { apiServer: { audit: { policyFile } } }),
        {
          what: "plainkube:apiServer.audit.policyFile cannot be used",
          got: `${policyFile}: ${problem}`,
          expected: "a readable file with a Policy of audit.k8s.io/v1",
          remedy: "correct the path or the file; see docs/systems/full.md",
        },
      ] as const,
    ]),
  ),
  "audit policy file that logs tokens": [
    (c) => Object.assign(c, { apiServer: { audit: { policyFile: revealingPolicy } } }),
    {
      what: "plainkube:apiServer.audit.policyFile would log credentials",
      got: "rules[1] of level Request, for serviceaccounts/token",
      expected: "at most Metadata for secrets, serviceaccounts/token and tokenreviews (authentication.k8s.io)",
      remedy: "put a rule of level Metadata for these before it",
    },
  ],
  ...Object.fromEntries(
    [
      "socks5://10.90.23.1:1080",
      "http://10.90.23.1:80",
      "https://10.90.23.1",
      "grpc://10.90.23.1:1",
      "unix://run/x",
    ].map((way) => [
      `egress by ${way}`,
      [
        (c: Base) => Object.assign(c, { apiServer: { egressSelector: { cluster: way } } }),
        invalid(
          "apiServer.egressSelector.cluster",
          JSON.stringify(way),
          "direct, a CONNECT proxy like https://proxy.example.com:8132, or its socket like unix:///run/proxy.sock",
        ),
      ] as const,
    ]),
  ),
  "unknown egress selection": [
    (c) => Object.assign(c, { apiServer: { egressSelector: { master: "direct" } } }),
    unknown("apiServer.egressSelector.master", "master", "cluster, controlplane, etcd", noSuggestion),
  ],
  "etcd through a proxy elsewhere": [
    (c) => Object.assign(c, { apiServer: { egressSelector: { etcd: "https://10.90.23.42:8131" } } }),
    {
      what: "plainkube:apiServer.egressSelector.etcd is a proxy on another host",
      got: "https://10.90.23.42:8131",
      expected: "direct, or a proxy on the control plane's host: etcd's address there is 127.0.0.1",
      remedy: "remove it, or run the proxy there",
    },
  ],
  ...Object.fromEntries(
    ["api", "http://issuer.example.com", "https://issuer.example.com/", "https://u@issuer.example.com"].map((url) => [
      `issuer ${url}`,
      [
        (c: Base) => Object.assign(c, { apiServer: { serviceAccounts: { issuer: url } } }),
        invalid(
          "apiServer.serviceAccounts.issuer",
          JSON.stringify(url.replace("u@", "[secret]@")),
          "an https URL without query, fragment or slash at its end, like https://issuer.example.com/cluster",
        ),
      ] as const,
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(origins).map(([origin, fault]) => [
      `origin ${origin}`,
      [
        (c: Base) => Object.assign(c, { apiServer: { corsAllowedOrigins: ["^https://a$", origin] } }),
        {
          what: `plainkube:apiServer.corsAllowedOrigins[1] is ${fault}`,
          got: JSON.stringify(origin),
          expected: "a regular expression that begins with ^ or // and ends with $, like ^https://ui\\.example\\.com$",
          remedy: "correct it: what is not anchored lets other sites in",
        },
      ] as const,
    ]),
  ),
  "kubelet certificates from elsewhere": [
    (c) => Object.assign(c, { kubelet: { certificates: "bootstrap" } }),
    invalid("kubelet.certificates", '"bootstrap"', "issued or bootstrapped"),
  ],
  "an add-on that there is not": [
    (c) => Object.assign(c, { addons: { metricServer: true } }),
    unknown(
      "addons.metricServer",
      "metricServer",
      "metricsServer, storageClasses, localPath",
      "did you mean metricsServer?",
    ),
  ],
  "metrics-server, in words": [
    (c) => Object.assign(c, { addons: { metricsServer: "yes" } }),
    invalid("addons.metricsServer", '"yes"', "true or false"),
  ],
  "a StorageClass without a provisioner": [
    (c) => classes(c, { name: "fast" }),
    {
      what: "plainkube:addons.storageClasses[0].provisioner is missing",
      got: "nothing",
      expected: driver,
      remedy: set,
    },
  ],
  "a StorageClass with a misspelt provisioner": [
    (c) => classes(c, { name: "fast", provisioner: "localpath" }),
    invalid("addons.storageClasses[0].provisioner", '"localpath"', driver),
  ],
  "a StorageClass without a name": [
    (c) => classes(c, { provisioner: "local-path" }),
    {
      what: "plainkube:addons.storageClasses[0].name is missing",
      got: "nothing",
      expected: "a DNS name: lower-case letters, digits, `-` and `.`",
      remedy: set,
    },
  ],
  "a StorageClass with a number as a parameter": [
    (c) => classes(c, { name: "fast", provisioner: "ebs.csi.aws.com", parameters: { iops: 3000 } }),
    invalid("addons.storageClasses[0].parameters.iops", "3000", "text; put a number or true in quotes"),
  ],
  "two default StorageClasses": [
    (c) =>
      classes(
        c,
        { name: "a", provisioner: "local-path", default: true },
        { name: "b", provisioner: "ebs.csi.aws.com", default: true },
      ),
    {
      what: "plainkube:addons.storageClasses has several defaults",
      got: "a, b",
      expected: "at most one class with default: true",
      remedy: "keep it on one class",
    },
  ],
  "two StorageClasses of one name": [
    (c) => classes(c, { name: "a", provisioner: "local-path" }, { name: "a", provisioner: "ebs.csi.aws.com" }),
    {
      what: "plainkube:addons.storageClasses has the name a more than once",
      got: "storageClasses[0] and storageClasses[1]",
      expected: "each name once",
      remedy: "give each class its own",
    },
  ],
  "volumes on hosts before there is a pod": [
    (c) => classes(c, { name: "a", provisioner: "local-path", volumeBindingMode: "Immediate" }),
    {
      what: "plainkube:addons.storageClasses[0].volumeBindingMode does not fit the provisioner local-path",
      got: "Immediate",
      expected: "WaitForFirstConsumer: a volume is made on the node of the pod that uses it",
      remedy: "leave it out",
    },
  ],
  ...Object.fromEntries(
    ["srv/volumes", "/volumes", "/srv/../etc", "/srv/my volumes", "/srv/volumes/"].map((path) => [
      `volumes at ${path}`,
      [
        (c: Base) => Object.assign(c, { addons: { localPath: path } }),
        invalid(
          "addons.localPath",
          JSON.stringify(path),
          "an absolute path of at least two folders, of letters, digits, `-`, `_` and `.`",
        ),
      ] as const,
    ]),
  ),
  ...Object.fromEntries(
    [
      ["/etc/volumes", "/etc"],
      ["/var/lib/kubelet/pods", "/var/lib/kubelet"],
      ["/var/lib/plainkube/etcd", "/var/lib/plainkube"],
    ].map(([path, within]) => [
      `volumes within ${within}`,
      [
        (c: Base) =>
          Object.assign(c, {
            addons: { localPath: path, storageClasses: [{ name: "a", provisioner: "local-path" }] },
          }),
        {
          what: "plainkube:addons.localPath is not free for volumes",
          got: `${path}, within ${within}`,
          expected: "a folder outside those of the system and of plainkube, or within /var/lib/plainkube/volumes",
          remedy: "choose another, like /srv/volumes, or leave it out",
        },
      ] as const,
    ]),
  ),
  "encryption without a key": [
    (c) => Object.assign(c, { apiServer: { encryption: { generation: 0 } } }),
    {
      what: "plainkube:apiServer.encryption has no key to encrypt with",
      got: "secrets: true and generation: 0",
      expected: "a generation of at least 1, or secrets: false",
      remedy: "set apiServer.encryption.generation to 1",
    },
  ],
  "half a key": [
    (c) => Object.assign(c, { apiServer: { encryption: { generation: 1.5 } } }),
    invalid("apiServer.encryption.generation", "1.5", "a whole number of keys"),
  ],
  "external host name with a port": [
    (c) => Object.assign(c, { apiServer: { externalHostname: "api.example.com:6443" } }),
    invalid("apiServer.externalHostname", '"api.example.com:6443"', "a DNS name or IPv4 address"),
  ],
  "unknown storage media type": [
    (c) => Object.assign(c, { apiServer: { storageMediaType: "application/cbor" } }),
    invalid(
      "apiServer.storageMediaType",
      '"application/cbor"',
      "application/vnd.kubernetes.protobuf or application/json",
    ),
  ],
  "a bad StorageClass beside other mistakes": [
    (c) => Object.assign(classes(c, { name: "fast" }), { proof: { replicas: 1 } }),
    {
      what: "plainkube:addons.storageClasses[0].provisioner is missing",
      got: "nothing",
      expected: driver,
      remedy: set,
    },
    {
      what: "plainkube:proof.replicas is too small to reach every worker",
      got: "1 for 2 workers",
      expected: "at least 2: one for each worker that takes ordinary pods",
      remedy: "raise it, or leave it out",
    },
  ],
  "certificates that outlive their authority": [
    (c) => Object.assign(c, { certificates: { caValidityHours: 1000 } }),
    {
      what: "plainkube:certificates.validityHours is longer than its authority's",
      got: "8760 of 1000 hours",
      expected: "at most certificates.caValidityHours",
      remedy: "shorten it, or raise certificates.caValidityHours",
    },
  ],
  "certificates that are always renewed": [
    (c) => Object.assign(c, { certificates: { validityHours: 720 } }),
    {
      what: "plainkube:certificates.earlyRenewalHours leaves no time to use a certificate",
      got: "720 of 720 hours",
      expected: "less than certificates.validityHours",
      remedy: "lower it",
    },
  ],
  "certificates for ever": [
    (c) => Object.assign(c, { certificates: { validityHours: 1e9 } }),
    invalid("certificates.validityHours", "1000000000", "at most 87600 hours"),
  ],
  "certificates for a day, in words": [
    (c) => Object.assign(c, { certificates: { validityHours: "24h" } }),
    invalid("certificates.validityHours", '"24h"', "a whole number of hours"),
  ],
  "SAN that is nearly an address": [
    (c) => Object.assign(c, { certificates: { extraApiSans: ["10.90.23.300"] } }),
    invalid("certificates.extraApiSans[0]", '"10.90.23.300"', "a DNS name or IPv4 address"),
  ],
  "SAN as text": [
    (c) => Object.assign(c, { certificates: { extraApiSans: "api.example.com" } }),
    invalid("certificates.extraApiSans", '"api.example.com"', "a list of names and addresses"),
  ],
  "cluster name with a slash": [
    (c) => Object.assign(c, { clusterName: "a/b" }),
    invalid("clusterName", '"a/b"', label),
  ],
  "fewer replicas than workers": [
    (c) => Object.assign(c, { proof: { replicas: 1 } }),
    {
      what: "plainkube:proof.replicas is too small to reach every worker",
      got: "1 for 2 workers",
      expected: "at least 2: one for each worker that takes ordinary pods",
      remedy: "raise it, or leave it out",
    },
  ],
  "no replicas": [(c) => Object.assign(c, { proof: { replicas: 0 } }), invalid("proof.replicas", "0", "at least 1")],
  "unknown system": [
    (c) => Object.assign(c, { system: "apiOnly" }),
    invalid("system", '"apiOnly"', "cluster, minimal or api-only (`full` and `dev` are stacks of the system cluster)"),
  ],
  "workers in a system without nodes": [
    (c) => Object.assign(c, { system: "api-only" }),
    {
      what: "plainkube:hosts[0].roles has worker in a system without nodes",
      got: "control-plane, worker in system api-only",
      expected: "control-plane alone",
      remedy: "remove worker from the roles",
    },
    {
      what: "plainkube:hosts[1].roles has worker in a system without nodes",
      got: "worker in system api-only",
      expected: "control-plane alone",
      remedy: "remove the host, or set system to cluster (after pulumi destroy)",
    },
  ],
  "settings of what the system does not have": [
    (c) => {
      Object.assign(c, apiOnly(), {
        overrides: {
          kubeApiserver: { flags: { v: 2 } },
          kubeScheduler: { flags: { v: 2 }, config: { parallelism: 4 } },
          kubelet: { config: { maxPods: 7 } },
        },
        proof: { replicas: 2 },
      });
    },
    {
      what: "plainkube:overrides.kubeScheduler is for a component that the system does not have",
      got: "v, parallelism in system api-only",
      expected: "settings of etcd and kubeApiserver",
      remedy: "remove overrides.kubeScheduler, or set system to cluster (after pulumi destroy)",
    },
    {
      what: "plainkube:overrides.kubelet is for a component that the system does not have",
      got: "maxPods in system api-only",
      expected: "settings of etcd and kubeApiserver",
      remedy: "remove overrides.kubelet, or set system to cluster (after pulumi destroy)",
    },
    {
      what: "plainkube:proof.replicas is for a Deployment that the system does not have",
      got: "2 in system api-only",
      expected: "nothing",
      remedy: "remove proof.replicas, or set system to cluster (after pulumi destroy)",
    },
  ],
  "user without groups": [
    (c) => Object.assign(c, { users: [{ name: "jane", groups: [] }] }),
    invalid("users[0].groups", "[]", "at least one group"),
  ],
  "user whose groups are missing": [
    (c) => Object.assign(c, { users: [{ name: "jane" }] }),
    { what: "plainkube:users[0].groups is missing", got: "nothing", expected: "a list of groups", remedy: set },
  ],
  "users by name": [
    (c) => Object.assign(c, { users: { jane: { groups: ["a"] } } }),
    invalid("users", '{"jane":{"groups":["a"]}}', "a list of users"),
  ],
  "misspelled key of a user": [
    (c) => Object.assign(c, { users: [{ name: "jane", groups: ["a"], binding: [] }] }),
    unknown("users[0].binding", "binding", "name, groups, bindings", "did you mean bindings?"),
  ],
  "binding without a role": [
    (c) => Object.assign(c, { users: [{ name: "jane", groups: ["a"], bindings: [{ namespace: "default" }] }] }),
    {
      what: "plainkube:users[0].bindings[0].clusterRole is missing",
      got: "nothing",
      expected: "the name of a ClusterRole, like view",
      remedy: set,
    },
  ],
  "binding in a namespace that cannot be": [
    (c) => withUser(c, { bindings: [{ clusterRole: "view", namespace: "Team A" }] }),
    invalid("users[0].bindings[0].namespace", '"Team A"', "a namespace: lower-case letters, digits and `-`"),
  ],
  ...Object.fromEntries(
    ["", "jane doe", "jane/admin", "-jane", "jané", "jane\n", "system:admin", "CN=jane,O=system:masters"].map(
      (user) => [
        `user named ${JSON.stringify(user)}`,
        [
          (c: Base) => withUser(c, { name: user }),
          invalid("users[0].name", JSON.stringify(user), "a user name of letters, digits, `.`, `_`, `@` and `-`"),
        ] as const,
      ],
    ),
  ),
  "user with a name that is longer than a certificate's": [
    (c) => withUser(c, { name: "j".repeat(65) }),
    invalid(
      "users[0].name",
      JSON.stringify("j".repeat(65)),
      "a user name of letters, digits, `.`, `_`, `@` and `-` of at most 64 characters",
    ),
  ],
  "group with a comma": [
    (c) => withUser(c, { groups: ["a,b"] }),
    invalid("users[0].groups[0]", '"a,b"', "a group of letters, digits, `.`, `_`, `@`, `:` and `-`"),
  ],
  "groups of the cluster's own": [
    (c) => withUser(c, { groups: ["dev", "system:masters"] }),
    {
      what: "plainkube:users[0].groups has a group of the cluster's own",
      got: "system:masters",
      expected: "groups that do not begin with system: (their rights cannot be taken back from a certificate)",
      remedy: "remove it, and bind a ClusterRole: cluster-admin gives every right",
    },
  ],
  "user with a name of the cluster's own": [
    (c) => withUser(c, { name: "kube-apiserver-kubelet-client" }),
    {
      what: "plainkube:users[0].name is a name of the cluster's own",
      got: "kube-apiserver-kubelet-client",
      expected: "a name other than kubernetes-admin, kube-apiserver, kube-apiserver-kubelet-client",
      remedy: "choose another name",
    },
  ],
  "what is said twice of users": [
    (c) => {
      const bindings = ["edit", "view", "edit"].map((clusterRole) => ({ clusterRole, namespace: "default" }));
      const jane = { name: "jane", groups: ["a", "b", "a"], bindings: [...bindings, { clusterRole: "edit" }] };
      Object.assign(c, { users: [jane, { name: "joe", groups: ["a"] }, { name: "jane", groups: ["a"] }] });
    },
    {
      what: "plainkube:users has the name jane more than once",
      got: "users[0] and users[2]",
      expected: "each name once",
      remedy: "give each user a name of its own",
    },
    {
      what: "plainkube:users[0].groups has a group twice",
      got: "a",
      expected: "each group once",
      remedy: "remove one of them",
    },
    {
      what: "plainkube:users[0].bindings has a binding twice",
      got: "edit in default",
      expected: "each binding once",
      remedy: "remove one of them",
    },
  ],
};

for (const [name, [change, ...expected]] of Object.entries(cases)) {
  test(`refused: ${name}`, () => {
    const config = base();
    change(config);
    assert.deepEqual(problemsOf(config), expected);
  });
}

test("metrics-server is refused with a Kubernetes that it does not know", () => {
  const config = { ...base(), addons: { metricsServer: true } };
  assert.deepEqual(problemsOf(config), []);
  const problems = problemsOf({ ...config, versions: { kubernetes: "1.27.2" } });
  assert.deepEqual(
    problems.find((p) => p.what.includes("metricsServer")),
    {
      what: "plainkube:addons.metricsServer does not fit the version of Kubernetes",
      got: "metrics-server 0.9.0 with Kubernetes 1.27.2",
      expected: "Kubernetes 1.34 or newer",
      remedy: "leave addons.metricsServer out, or raise versions.kubernetes",
    },
  );
});

test("the configuration that all cases start from is sound", () => {
  const spec = specOf(base());
  assert.equal(spec.apiEndpoint, "https://10.90.23.41:6443");
  assert.equal(spec.apiServiceAddress, "10.96.0.1");
  assert.equal(spec.dnsAddress, "10.96.0.10");
  assert.equal(spec.controlPlane.name, "node1");
  assert.deepEqual(
    spec.workers.map((h) => [h.name, h.isControlPlane, h.hostKey]),
    [
      ["node1", true, hostKey],
      ["node2", false, hostKey],
    ],
  );
  assert.equal(spec.ssh.privateKey, key.privateKey);
  assert.equal(spec.proof.replicas, 4);
});

test("a system without nodes needs no worker", () => {
  const spec = specOf({ ...base(), ...apiOnly() });
  assert.deepEqual([spec.system, spec.controlPlane.name, spec.workers], ["api-only", "node1", []]);
  assert.equal(specOf(base()).system, "cluster", "by default a whole cluster is built");
});

test("a host gets what the system and its roles need, and no more", () => {
  const config = base();
  Object.assign(config.hosts[0], { roles: ["control-plane"] });
  const plans = (raw: RawConfig) => {
    const spec = specOf(raw);
    return spec.hosts.map((host) => ({ ...planOf(spec, host), binaries: stagesOf(spec) }));
  };
  const [alone] = plans({ ...base(), ...apiOnly() });
  assert.deepEqual(alone, {
    stages: ["control-plane"],
    units: ["etcd.service", "kube-apiserver.service"],
    ports: [2379, 2380, 2381, 6443],
    udpPorts: [],
    needMib: 250,
    needLibMib: 300,
    binaries: { "control-plane": ["etcd", "kube-apiserver"], runtime: [], network: [] },
  });
  const [controlPlane, worker] = plans(config);
  assert.deepEqual(
    [controlPlane?.stages, controlPlane?.units.length, controlPlane?.ports.length, controlPlane?.needMib],
    [["control-plane", "network"], 6, 8, 700],
  );
  assert.deepEqual(
    [worker?.stages, worker?.units.length, worker?.ports.length, worker?.needMib],
    [["runtime", "network"], 5, 4, 700],
  );
});

test("users with odd names are taken as they are", () => {
  const bindings = [{ clusterRole: "system:node-reader" }, { clusterRole: "a.b_c", namespace: "kube-system" }];
  const users = [
    { name: "Jane.Doe@example.com", groups: ["team:a", "B_c", "7"], bindings },
    { name: "x", groups: ["g".repeat(64)] },
  ];
  const [jane, x] = specOf({ ...base(), users }).users;
  assert.deepEqual([jane, x], [users[0], { ...users[1], bindings: [] }]);
});

test("without a key and without an agent, only a preview goes on", () => {
  const config = { ...base(), ssh: { knownHostsFile: ssh.knownHostsFile } };
  const around = { agentSocket: "" };
  assert.deepEqual(problemsOf(config, around), [
    {
      what: "plainkube:ssh has no way to log in",
      got: "neither ssh.privateKeyFile nor $SSH_AUTH_SOCK",
      expected: "one of them",
      remedy: "set ssh.privateKeyFile, or start an SSH agent and add a key with ssh-add",
    },
  ]);
  assert.deepEqual(problemsOf(config, { ...around, isPreview: true }), []);
  assert.deepEqual(problemsOf(config, { agentSocket: "/tmp/agent" }), []);
});

test("an encrypted key is taken with its passphrase", () => {
  const config = { ...base(), ssh: { ...ssh, privateKeyFile: encrypted.path, privateKeyPassword: "a passphrase" } };
  assert.equal(specOf(config).ssh.privateKey, encrypted.privateKey);
});

test("what looks odd and is right is taken", () => {
  const config = base();
  const { hosts } = config;
  Object.assign(hosts[0], { labels: { "topology.kubernetes.io/zone": "a", "x.kubelet.kubernetes.io/y": "", n: "1" } });
  Object.assign(hosts[1], {
    hostKey: `${hostKey} a comment`,
    taints: [
      { key: "a", effect: "PreferNoSchedule" },
      { key: "a", effect: "NoExecute" },
    ],
    user: "_admin-1",
  });
  Object.assign(config, {
    clusterName: "123",
    network: { podCidr: "10.244.0.0/23", serviceCidr: "10.96.0.0/28", dnsDomain: "local" },
    binaries: { checksums: { coredns: "0".repeat(64), "kubelet-arm64": "0".repeat(64), "pause.tar": "0".repeat(64) } },
    overrides: { kubelet: { flags: { v: 0, "feature-gates": "A=true,B=false", "node-labels": "" } } },
    runtime: { evictionHard: { "memory.available": "0.5Gi", "nodefs.available": "0%", "pid.available": "7.5%" } },
  });
  const spec = specOf(config);
  assert.equal(spec.hosts[1]?.hostKey, hostKey, "the comment is no part of the key");
});

test("the proof has a replica for every worker that takes it", () => {
  const config = base();
  const more = Array.from({ length: 5 }, (_, i) => ({
    name: `more-${i}`,
    address: `10.90.23.${50 + i}`,
    roles: ["worker"],
    hostKey,
  }));
  assert.equal(specOf({ ...config, hosts: [...config.hosts, ...more] }).proof.replicas, 7);
});

test("the system minimal refuses what has no meaning in it, all at once", () => {
  const minimal = { ...base(), system: "minimal" };
  assert.deepEqual(problemsOf({ ...minimal, network: { dnsDomain: "k8s.example.com", podCidr: "10.128.0.0/14" } }), [
    {
      what: "plainkube:network.dnsDomain has no meaning in the system minimal",
      got: "k8s.example.com",
      expected: 'nothing, or its default "cluster.local"',
      remedy: "remove it, or set plainkube:system to cluster (after pulumi destroy)",
    },
  ]);
  const followed = {
    clusterName: "small",
    network: { dnsDomain: "cluster.local", mtu: 1400, nodeCidrMaskSize: 25, serviceCidr: "10.0.0.0/24" },
    runtime: { maxPods: 20, cgroupDriver: "cgroupfs" },
    overrides: { kubelet: { flags: { v: 2 } }, etcd: { config: { "log-level": "warn" } } },
    certificates: { validityHours: 1000, extraApiSans: ["api.example.com"] },
    proof: { replicas: 2 },
  };
  assert.deepEqual(problemsOf({ ...minimal, ...followed }), []);
  assert.deepEqual(
    problemsOf({ ...base(), network: { dnsDomain: "k8s.example.com" } }),
    [],
    "in a whole cluster, it has",
  );
});

test("the API alone refuses what it has no part for", () => {
  const nothing = (path: string, got: string, byDefault: string) => ({
    what: `plainkube:${path} has no meaning in the system api-only`,
    got,
    expected: `nothing, or its default ${byDefault}`,
    remedy: "remove it, or set plainkube:system to cluster (after pulumi destroy)",
  });
  const settings = {
    network: { podNetwork: "flannel", dnsDomain: "k8s.example.com" },
    kubelet: { certificates: "bootstrapped" },
    addons: { metricsServer: true },
    runtime: { maxPods: 20 },
  };
  assert.deepEqual(problemsOf({ ...base(), ...apiOnly(), ...settings }), [
    nothing("network.podNetwork", "flannel", '"routes"'),
    nothing("runtime.maxPods", "20", "110"),
    nothing("kubelet.certificates", "bootstrapped", '"issued"'),
    nothing("addons.metricsServer", "true", "false"),
  ]);
});

test("every problem of a configuration is reported at once", () => {
  const problems = problemsOf(
    {
      hots: [],
      clusterName: "Dev!",
      hosts: [
        { name: "a", address: "10.244.0.1", roles: ["worker"], port: 0 },
        { name: "a", address: "10.244.0.1", roles: ["worker"], lables: {} },
        { name: "b", address: "300.1.1.1", roles: ["worker"] },
        { name: "c", roles: ["worker"], labels: { "kubernetes.io/x": "y" } },
        7,
      ],
      ssh: { privateKeyFile: "no/such/key", knownHostsFile: ssh.knownHostsFile },
      versions: { kubernetes: "1.12.0" },
      network: { serviceCidr: "10.244.0.0/17", mtu: 3 },
      binaries: { source: "mirror" },
      certificates: { validityHours: 100, caValidityHours: 50 },
      overrides: { kubelet: { flags: { "--v": 1 } } },
    },
    { agentSocket: undefined },
  );
  assert.deepEqual(
    problems.map((p) => p.what.replaceAll("plainkube:", "")),
    [
      "clusterName is not valid",
      "hosts[0].port is not valid",
      "hosts[1].lables is not a setting",
      "hosts[2].address is not valid",
      "hosts[3].address is missing",
      "hosts[4] is not valid",
      "network.mtu is not valid",
      "overrides.kubelet.flags has a bad name",
      "hots is not a setting",
      // What can be said of the rest. Roles and the number of hosts are not judged while a host cannot be read.
      "hosts has the name a twice",
      "hosts has the address 10.244.0.1 twice",
      "hosts[0].address lies in network.podCidr",
      "hosts[0].address lies in network.serviceCidr",
      "hosts[1].address lies in network.podCidr",
      "hosts[1].address lies in network.serviceCidr",
      "hosts[3].labels has a label that a kubelet may not set",
      "network.podCidr and network.serviceCidr overlap",
      "versions.kubernetes is not supported",
      "binaries.mirror is missing",
      "certificates.validityHours is longer than its authority's",
      "certificates.earlyRenewalHours leaves no time to use a certificate",
      "ssh.privateKeyFile cannot be read",
      "hosts[1] (a) has no pinned host key",
    ],
  );
});
