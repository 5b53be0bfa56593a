/**
 * What a configuration is completed to, and what is taken although it looks odd. What is refused stands in tests/bad-input
 * with the whole text of what is said about it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { stagesOf } from "../../components/binaries/stages.ts";
import { planOf } from "../../components/host/plan.ts";
import { ConfigError, type Problem, parseCluster, type Surroundings } from "../../components/spec.ts";
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

const encrypted = await makeKey(join(directory, "encrypted"), "a passphrase");

/** A sound system without nodes. */
const apiOnly = () => ({
  system: "api-only",
  hosts: [{ name: "node1", address: "10.90.23.41", roles: ["control-plane"] }],
});

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
    binaries: { "control-plane": ["etcd", "kube-apiserver"], runtime: [], controllers: [], kubelet: [], network: [] },
  });
  const [controlPlane, worker] = plans(config);
  assert.deepEqual(
    [controlPlane?.stages, controlPlane?.units.length, controlPlane?.ports.length, controlPlane?.needMib],
    [["control-plane", "controllers", "network"], 6, 8, 700],
  );
  assert.deepEqual(
    [worker?.stages, worker?.units.length, worker?.ports.length, worker?.needMib],
    [["runtime", "kubelet", "network"], 5, 4, 700],
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
