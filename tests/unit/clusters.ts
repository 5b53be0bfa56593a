import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { parse } from "yaml";
import { type ClusterSpec, parseCluster, type Surroundings } from "../../components/spec.ts";
import { makeKey } from "../plugin/sshd.ts";

export const projectDirectory = join(import.meta.dirname, "../..");

/** A stack's configuration, keys without namespace. */
export type RawConfig = Record<string, unknown>;

/** A folder of a test file's own, gone when the file is done. */
export const directory = await mkdtemp(join(tmpdir(), "plainkube-unit-"));
after(() => rm(directory, { recursive: true, force: true }));

/** A key pair made for this run; the public half also serves as a host's key. */
export const key = await makeKey(join(directory, "id_ed25519"));
/** Type and content of the public key, as a known_hosts line holds them after the names. */
export const hostKey = key.publicKey.split(" ").slice(0, 2).join(" ");

const knownHosts = join(directory, "known_hosts");
const pinned = ["10.90.23.41", "10.90.23.42", "172.31.5.10", "172.31.5.11", "[172.31.5.12]:2222"];
await writeFile(knownHosts, pinned.map((host) => `${host} ${hostKey}\n`).join(""));

export const surroundings: Surroundings = { projectDirectory, isPreview: false, agentSocket: undefined };

/** How hosts are reached in these tests. */
export const ssh = { privateKeyFile: key.path, knownHostsFile: knownHosts };

/** A stack as it stands in the repository, with a key of this run. */
function stackConfig(file: string): RawConfig {
  const stack = parse(readFileSync(join(projectDirectory, file), "utf8"));
  const settings = Object.entries<unknown>(stack.config).map(([name, value]) => [name.split(":")[1], value]);
  return { ...Object.fromEntries(settings), ssh };
}

export const devConfig = (): RawConfig => stackConfig("Pulumi.dev.yaml");
export const exampleConfig = (name: string): RawConfig => stackConfig(`examples/Pulumi.${name}.yaml`);

/** A cluster with hardly a default: three hosts, the control plane runs no pods. */
export const customConfig = (): RawConfig => ({
  clusterName: "custom",
  hosts: [
    { name: "cp", address: "172.31.5.10", roles: ["control-plane"] },
    {
      name: "worker-a",
      address: "172.31.5.11",
      roles: ["worker"],
      user: "admin",
      labels: { "example.com/rack": "r1", "topology.kubernetes.io/zone": "east", empty: "" },
    },
    {
      name: "worker-b",
      address: "172.31.5.12",
      port: 2222,
      roles: ["worker"],
      taints: [
        { key: "example.com/dedicated", value: "gpu", effect: "PreferNoSchedule" },
        { key: "maintenance", effect: "NoSchedule" },
      ],
    },
  ],
  ssh,
  network: {
    podCidr: "10.128.0.0/14",
    nodeCidrMaskSize: 23,
    serviceCidr: "172.30.0.0/20",
    dnsDomain: "k8s.example.com",
    mtu: 1400,
    kubeProxyMode: "nftables",
  },
  apiServer: {
    authorizationModes: ["RBAC", "Node"],
    admissionPlugins: {
      enable: ["NodeRestriction", "DenyServiceExternalIPs", "EventRateLimit"],
      disable: ["DefaultIngressClass", "RuntimeClass"],
      config: {
        EventRateLimit: {
          apiVersion: "eventratelimit.admission.k8s.io/v1alpha1",
          kind: "Configuration",
          limits: [{ type: "Server", qps: 50, burst: 100 }],
        },
      },
    },
    audit: {
      rules: [
        { level: "Metadata", resources: [{ resources: ["secrets", "serviceaccounts/token"] }] },
        { level: "Metadata", resources: [{ group: "authentication.k8s.io" }] },
        { level: "RequestResponse", users: ["jane"], verbs: ["create"], namespaces: ["prod", ""] },
        { level: "None", nonResourceURLs: ["/metrics*"], omitStages: ["Panic"] },
      ],
      path: "-",
      maxAge: 0,
      maxBackup: 3,
      maxSize: 7,
    },
    egressSelector: {
      cluster: "https://proxy.example.com:8132",
      controlplane: "https://172.31.5.10:8131",
      etcd: "unix:///run/proxy/etcd.sock",
    },
    serviceAccounts: { issuer: "https://issuer.example.com/custom", lookup: false },
    corsAllowedOrigins: ["^https://ui\\.example\\.com$", "//[a-z]{1,3}\\.example\\.com(:[0-9]+)?$"],
    encryption: { generation: 2 },
    externalHostname: "api.example.com",
    storageMediaType: "application/json",
    hostKubeconfigs: true,
  },
  runtime: { maxPods: 250, evictionHard: { "memory.available": "5%", "pid.available": "1000" } },
  kubelet: { certificates: "bootstrapped" },
  addons: {
    metricsServer: true,
    localPath: "/srv/volumes",
    storageClasses: [
      { name: "local", provisioner: "local-path", default: true, reclaimPolicy: "Retain" },
      {
        name: "elsewhere",
        provisioner: "ebs.csi.aws.com",
        volumeBindingMode: "Immediate",
        parameters: { type: "gp3" },
      },
    ],
  },
  overrides: {
    etcd: { config: { "quota-backend-bytes": 8589934592, "client-transport-security": { "auto-tls": false } } },
    kubeApiserver: {
      flags: {
        "audit-log-compress": true,
        profiling: true,
        "audit-log-format": 'a b "c" \\ $HOME %n',
      },
    },
    kubeControllerManager: { flags: { "kube-api-qps": 50.5 } },
    kubeScheduler: { flags: { v: 4 }, config: { leaderElection: { leaseDuration: "30s" }, parallelism: 4 } },
    kubelet: {
      flags: { v: 2 },
      config: { authentication: { webhook: { cacheTTL: "1m" } }, cpuManagerPolicy: "static" },
    },
    kubeProxy: { flags: { v: 2 }, config: { nodePortAddresses: ["172.31.5.0/24"], iptables: { syncPeriod: "10s" } } },
  },
  certificates: { extraApiSans: ["api.example.com", "192.0.2.1"] },
  users: [
    {
      name: "Jane.Doe@example.com",
      groups: ["team:a", "developers"],
      bindings: [{ clusterRole: "admin", namespace: "kube-public" }, { clusterRole: "view" }],
    },
    { name: "joe", groups: ["guests"] },
  ],
});

/** Stack `dev` with another pod network. */
export const flannelConfig = (): RawConfig => ({
  ...devConfig(),
  network: { podNetwork: "flannel", flannel: { vni: 7, port: 4789 } },
});

/** Completes a configuration. Throws ConfigError. */
export const specOf = (config: RawConfig): ClusterSpec => parseCluster(config, surroundings);
