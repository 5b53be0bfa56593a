import { z } from "zod";
import { supportedVersions } from "./versions.ts";

/**
 * The schema of every configuration key. Pulumi.yaml's `config` section and docs/config.md are generated from it
 * (`npm run docs`), and components/config.ts checks a stack against it.
 */

const dnsLabel = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const dnsName = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
const labelKey =
  /^(?=[^/]{1,253}(\/|$))([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const flagName = /^[a-z0-9][a-z0-9-]{0,62}$/;
const plainText = /^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u;
const userName = /^[a-z_][a-z0-9_-]{0,31}$/;
const quantity = /^((?=[0-9.]*[1-9])[0-9]+(\.[0-9]+)?([EPTGMK]i|[EPTGMk])?|(100|[1-9]?[0-9](\.[0-9]+)?)%)$/;

const text = (pattern: RegExp, what: string, max = 253) =>
  z.string(what).max(max, `${what} of at most ${max} characters`).regex(pattern, what);

const port = z.int("a port from 1 to 65535").min(1, "a port from 1 to 65535").max(65535, "a port from 1 to 65535");

const address = z
  .ipv4({ error: "an IPv4 address, like 10.90.23.41", abort: true })
  .refine(
    (a) => !/^(0|127|22[4-9]|2[3-5][0-9]|169\.254)\./.test(a),
    "an address at which the other hosts reach it: not loopback, link-local or multicast",
  );

/** A DNS name, or an IPv4 address: what looks like one must be one. */
const nameOrAddress = text(dnsName, "a DNS name or IPv4 address").refine(
  (n) => !/^[0-9.]+$/.test(n) || z.ipv4().safeParse(n).success,
  "a DNS name or IPv4 address",
);

const path = z
  .string("a path")
  .min(1, "a path")
  .max(4096, "a path of at most 4096 characters")
  .regex(plainText, "a path, in one line");

const hours = (most: number) =>
  z.int("a whole number of hours").min(1, "at least 1 hour").max(most, `at most ${most} hours`);

const publicKey = "a whole public key as `ssh-keyscan` prints it after the host's name, like ssh-ed25519 AAAA…";
/** A pinned public host key, in the form of a known_hosts line without names. */
export const hostKeySchema = text(
  /^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/]+=*( [^\p{Cc}]*)?$/u,
  publicKey,
  2000,
).refine(isWholeKey, publicKey);

/** A public key is a list of fields, each after its length; the first repeats the type. */
function isWholeKey(key: string): boolean {
  const [type, encoded = ""] = key.split(" ");
  const blob = Buffer.from(encoded, "base64");
  const fields: Buffer[] = [];
  let at = 0;
  while (at + 4 <= blob.length) {
    const end = at + 4 + blob.readUInt32BE(at);
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  return at === blob.length && fields.length > 1 && fields[0]?.toString("latin1") === type;
}

const sshEndpoint = {
  port: port.default(22).describe("Port of sshd."),
  user: text(userName, "a Linux user name")
    .default("root")
    .describe("User to log in as: root, or one with passwordless sudo."),
  hostKey: hostKeySchema
    .optional()
    .describe("Pinned public host key. Default: the entry for the address in `ssh.knownHostsFile`."),
};

const taint = z.strictObject({
  key: text(labelKey, "a taint key, like example.com/dedicated", 317),
  value: text(labelValue, "a taint value: text of letters, digits, `-`, `_` and `.`", 63).default(""),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"], "NoSchedule, PreferNoSchedule or NoExecute"),
});

export const roles = ["control-plane", "worker"] as const;

const host = z.strictObject({
  name: text(dnsLabel, "a DNS label: lower-case letters, digits and `-`", 63).describe(
    "Name of the node, unique in the cluster.",
  ),
  address: address.describe("IPv4 address, for SSH and as the node's InternalIP."),
  roles: z
    .array(z.enum(roles, "control-plane or worker"), "a list of roles")
    .min(1, "at least one of control-plane, worker")
    .describe("What the host does: control-plane, worker, or both."),
  ...sshEndpoint,
  labels: z
    .record(
      text(labelKey, "a label key, like example.com/rack", 317),
      text(
        labelValue,
        'a label value: text of letters, digits, `-`, `_` and `.`, quoted if it is like a number or "true"',
        63,
      ),
      "an object of labels",
    )
    .default({})
    .describe("Node labels that the kubelet registers with."),
  taints: z.array(taint, "a list of taints").default([]).describe("Node taints that the kubelet registers with."),
});

const ssh = z.strictObject({
  privateKeyFile: path
    .optional()
    .describe("File of the private key, relative to the project or with ~/. Default: the SSH agent of $SSH_AUTH_SOCK."),
  privateKeyPassword: z.string("text").optional().describe("Passphrase of the private key. Set it with --secret."),
  knownHostsFile: path
    .default("~/.ssh/known_hosts")
    .describe("OpenSSH known_hosts file with the pinned key of every host that has no `hostKey`."),
  dialAttempts: z
    .int("a whole number")
    .min(1, "at least 1")
    .max(100, "at most 100")
    .default(10)
    .describe("How often a refused connection is tried again."),
  dialTimeoutSeconds: z
    .int("a whole number of seconds")
    .min(1, "at least 1 second")
    .max(300, "at most 300 seconds")
    .default(15)
    .describe("Longest wait for one connection, in seconds."),
  jump: z
    .strictObject({ address: nameOrAddress, ...sshEndpoint })
    .optional()
    .describe("Jump host that all hosts are reached through."),
});

const version = text(/^[0-9]+\.[0-9]+\.[0-9]+$/, "a version like 1.36.3", 20);

const versions = z.strictObject({
  kubernetes: version
    .default("1.36.3")
    .describe(
      `Version of every Kubernetes binary: one of ${Object.keys(supportedVersions).join(", ")}. etcd and what else goes with it follow from it; see docs/versions.md.`,
    ),
});

const binaries = z.strictObject({
  source: z
    .enum(["auto", "release", "mirror", "modules", "directory"], "auto, release, mirror, modules or directory")
    .default("auto")
    .describe(
      "`release`: official downloads. `mirror`: the same layout below `mirror`. `modules`: built from Go modules. `directory`: files in `directory`. `auto`: the first of these that can be had, decided once per cache.",
    ),
  mirror: z
    .url({ protocol: /^https?$/, error: "an http or https URL", abort: true })
    .max(2000, "an http or https URL of at most 2000 characters")
    .regex(/^[!-~]+$/, "an http or https URL, in ASCII without spaces")
    // Preview and state show it.
    .refine((url) => !/[@?#]/.test(url), "an http or https URL without user, password, query or fragment")
    .optional()
    .describe("Base URL of a mirror of the official downloads."),
  directory: path.optional().describe("Folder that holds the binaries by name."),
  checksums: z
    .record(
      z.string("a name").max(64, "the name of a binary"),
      text(/^[0-9a-f]{64}$/, "a SHA-256 in 64 lower-case hex digits", 64),
    )
    .default({})
    .describe("Own pinned SHA-256 per binary name, for `directory` and for downloads without a known digest."),
});

const cidr = z.cidrv4("an IPv4 CIDR, like 10.96.0.0/16");

const network = z.strictObject({
  podCidr: cidr.default("10.244.0.0/16").describe("Addresses of all pods (--cluster-cidr)."),
  nodeCidrMaskSize: z
    .int("a prefix length from 16 to 28")
    .min(16, "a prefix length from 16 to 28")
    .max(28, "a prefix length from 16 to 28")
    .default(24)
    .describe("Prefix length of each node's share of `podCidr` (--node-cidr-mask-size)."),
  serviceCidr: cidr.default("10.96.0.0/16").describe("Addresses of Services (--service-cluster-ip-range)."),
  dnsDomain: text(dnsName, "a DNS domain").default("cluster.local").describe("Domain of the cluster's DNS names."),
  mtu: z
    .int("0 or an MTU from 1280 to 9216")
    .refine((n) => n === 0 || (n >= 1280 && n <= 9216), "0 or an MTU from 1280 to 9216")
    .default(0)
    .describe("MTU of the pod network in bytes; 0 takes the host's."),
});

/** What a kubelet 1.36 measures (pkg/kubelet/eviction/api). */
const evictionSignals = [
  "memory.available",
  "nodefs.available",
  "nodefs.inodesFree",
  "imagefs.available",
  "imagefs.inodesFree",
  "containerfs.available",
  "containerfs.inodesFree",
  "pid.available",
] as const;

const runtime = z.strictObject({
  cgroupDriver: z
    .enum(["systemd", "cgroupfs"], "systemd or cgroupfs")
    .default("systemd")
    .describe("Who manages cgroups, for the kubelet (cgroupDriver) and runc (SystemdCgroup)."),
  allowCgroupV1: z
    .boolean("true or false")
    .default(false)
    .describe(
      "Lets the kubelet run on hosts with cgroup v1 (failCgroupV1: false). A kubelet before 1.31 runs there anyway.",
    ),
  restrictOomScoreAdj: z
    .boolean("true or false")
    .default(false)
    .describe("containerd's restrict_oom_score_adj: needed where the host lacks CAP_SYS_RESOURCE, as in the lab."),
  maxPods: z
    .int("a whole number from 1 to 500")
    .min(1, "at least 1")
    .max(500, "at most 500")
    .default(110)
    .describe("Pods per node (kubelet's maxPods)."),
  evictionHard: z
    .partialRecord(
      z.enum(evictionSignals, `one of ${evictionSignals.join(", ")}`),
      text(quantity, "a quantity like 100Mi or a percentage like 10%", 20),
      "an object of thresholds",
    )
    .default({
      "memory.available": "100Mi",
      "nodefs.available": "10%",
      "nodefs.inodesFree": "5%",
      "imagefs.available": "15%",
    })
    .describe("Kubelet's evictionHard thresholds."),
});

/** What upstream's defaults and ours have in common is not rendered where few settings are wanted. */
export const runtimeDefaults = runtime.parse({});

const flagValue = z.union(
  [text(plainText, "text in one line", 4096), z.number(), z.boolean()],
  "text in one line of at most 4096 characters, a number, true or false",
);
const flags = z
  .record(text(flagName, "a flag's name without its leading dashes"), flagValue)
  .default({})
  .describe("Flags to add or to replace, by upstream name without leading dashes.");
const config = z
  .record(z.string(), z.json())
  .default({})
  .describe("Fields merged over the component's config file, by upstream name.");

/** Components whose settings can be overridden, and whether upstream gives them a config file. */
export const overridable = {
  etcd: z.strictObject({ config }),
  kubeApiserver: z.strictObject({ flags }),
  kubeControllerManager: z.strictObject({ flags }),
  kubeScheduler: z.strictObject({ flags, config }),
  kubelet: z.strictObject({ flags, config }),
  kubeProxy: z.strictObject({ flags, config }),
};

const overrides = z.strictObject(
  Object.fromEntries(Object.entries(overridable).map(([k, v]) => [k, v.prefault({})])) as unknown as {
    [K in keyof typeof overridable]: z.ZodPrefault<(typeof overridable)[K]>;
  },
);

const certificates = z.strictObject({
  caValidityHours: hours(262800).default(87600).describe("Lifetime of the three certificate authorities, in hours."),
  validityHours: hours(87600).default(8760).describe("Lifetime of every other certificate, in hours."),
  earlyRenewalHours: hours(87600)
    .default(720)
    .describe("A certificate with less than this left is replaced by the next `up`, in hours."),
  extraApiSans: z
    .array(nameOrAddress, "a list of names and addresses")
    .max(100, "at most 100 names and addresses")
    .default([])
    .describe("More names and addresses for the API server's certificate."),
});

const proof = z.strictObject({
  replicas: z
    .int("a whole number from 1 to 1000")
    .min(1, "at least 1")
    .max(1000, "at most 1000")
    .optional()
    .describe("Replicas of the Deployment that proves the cluster. Default: one for each worker, and at least 4."),
});

export const systems = ["cluster", "minimal"] as const;

export const clusterSchema = z.strictObject({
  system: z
    .enum(systems, "cluster or minimal")
    .default("cluster")
    .describe(
      "What is built. `cluster`: everything of a sound cluster. `minimal`: the fewest components, flags and files that answer a Service, below /opt/k8s; see docs/systems/minimal.md.",
    ),
  clusterName: text(dnsLabel, "a DNS label: lower-case letters, digits and `-`", 63)
    .default("plainkube")
    .describe("Name of the cluster in kubeconfigs."),
  hosts: z
    .array(host, "a list of hosts")
    .min(1, "at least one host")
    .max(1000, "at most 1000 hosts")
    .describe("The hosts of the cluster."),
  ssh: ssh.prefault({}).describe("How hosts are reached."),
  versions: versions.prefault({}).describe("Versions of what is installed."),
  binaries: binaries.prefault({}).describe("Where binaries come from."),
  network: network.prefault({}).describe("Addresses and names inside the cluster."),
  runtime: runtime.prefault({}).describe("Settings of the container runtime and the kubelet."),
  overrides: overrides.prefault({}).describe("Extra flags and config-file fields per component."),
  certificates: certificates.prefault({}).describe("Lifetimes and names in certificates."),
  proof: proof.prefault({}).describe("The Deployment and Service that prove the cluster."),
});

/** A stack's configuration with every default filled in. */
export type ClusterConfig = z.infer<typeof clusterSchema>;
export type HostConfig = ClusterConfig["hosts"][number];
export type Role = (typeof roles)[number];
