import { z } from "zod";
import { paths } from "./paths.ts";
import { systems } from "./system.ts";
import { supportedVersions } from "./versions.ts";

/**
 * The schema of every configuration key. Pulumi.yaml's `config` section and docs/config.md are generated from it
 * (`npm run docs`), and components/config.ts checks a stack against it.
 */

const dnsLabel = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const dnsName = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
const labelKey =
  /^(?=[^/]{1,253}(\/|$))([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const keyForm = "of at most 63 letters, digits, `-`, `_` and `.`, with a DNS name and `/` before it if wanted";
const labelValue = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const flagName = /^[a-z0-9][a-z0-9-]{0,62}$/;
const plainText = /^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u;
const userName = /^[a-z_][a-z0-9_-]{0,31}$/;
const accountName = /^[A-Za-z0-9]([A-Za-z0-9._@-]*[A-Za-z0-9])?$/;
const groupName = /^[A-Za-z0-9]([A-Za-z0-9._@:-]*[A-Za-z0-9])?$/;
const roleName = /^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$/;
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
  key: text(labelKey, `a taint key, like example.com/dedicated: a name ${keyForm}`, 317),
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
      text(labelKey, `a label key, like example.com/rack: a name ${keyForm}`, 317),
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
  privateKeyPassword: z
    .string("text; put a number in quotes")
    .max(1024, "text of at most 1024 characters")
    .optional()
    .describe("Passphrase of the private key. Set it with --secret."),
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
      "an object of checksums",
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
    .describe("MTU of pods in bytes. 0: 1500, and 1450 with `podNetwork: flannel`, as VXLAN takes 50."),
  kubeProxyMode: z
    .enum(["iptables", "nftables"], "iptables or nftables")
    .default("iptables")
    .describe(
      "kube-proxy's mode, and the netfilter tool for masquerading and host ports. `nftables` needs Kubernetes 1.31, Linux 5.13 and `nft` on the hosts.",
    ),
  podNetwork: z
    .enum(["routes", "flannel"], "routes or flannel")
    .default("routes")
    .describe(
      "How packets go between the pods of two hosts. `routes`: by plain routes, for hosts in one network segment. `flannel`: inside UDP packets between the hosts (VXLAN).",
    ),
  flannel: z
    .strictObject({
      vni: z
        .int("a whole number from 1 to 16777215")
        .min(1, "at least 1")
        .max(16777215, "at most 16777215")
        .default(1)
        .describe("VXLAN's network identifier; the interface is called `flannel.<vni>`."),
      port: port.default(8472).describe("UDP port on every host that VXLAN packets go to."),
    })
    .prefault({})
    .describe("Settings of `podNetwork: flannel`."),
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
  .record(text(flagName, "a flag's name without its leading dashes"), flagValue, "an object of flags")
  .default({})
  .describe("Flags to add or to replace, by upstream name without leading dashes.");
const config = z
  .record(z.string(), z.json("a value of YAML"), "an object of fields")
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

/** As the API server reads them; for what AlwaysAllow and the others would mean, see control-plane/check.ts. */
const authorizationModes = ["Node", "RBAC", "AlwaysAllow", "AlwaysDeny", "ABAC", "Webhook"] as const;

const names = (what: string) => z.array(text(/^[^\s,]+$/, what), `a list: each ${what}`).optional();

/** A rule of an audit policy (audit.k8s.io/v1, PolicyRule). */
export const auditRuleSchema = z
  .strictObject({
    level: z.enum(["None", "Metadata", "Request", "RequestResponse"], "None, Metadata, Request or RequestResponse"),
    users: names("a user's name"),
    userGroups: names("a group's name"),
    verbs: names("a verb, like update"),
    resources: z
      .array(
        z
          .strictObject({
            group: text(/^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$/, 'an API group; the core group is ""').default(""),
            resources: names("a resource, like pods or pods/exec"),
            resourceNames: names("an object's name"),
          })
          .refine((r) => !r.resourceNames?.length || Boolean(r.resources?.length), {
            path: ["resourceNames"],
            error: "none without resources: a name is one of a kind",
          }),
        "a list of resources",
      )
      .optional(),
    namespaces: z.array(text(/^[^\s,]*$/, "a namespace"), "a list of namespaces").optional(),
    nonResourceURLs: z
      .array(text(/^(\*|\/[^*\s]*\*?)$/, "a path like /healthz* with `*` at its end alone"), "a list of paths")
      .optional(),
    omitStages: z
      .array(
        z.enum(
          ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"],
          "RequestReceived, ResponseStarted, ResponseComplete or Panic",
        ),
        "a list of stages",
      )
      .optional(),
    omitManagedFields: z.boolean("true or false").optional(),
  })
  .refine((rule) => !rule.nonResourceURLs?.length || (!rule.resources?.length && !rule.namespaces?.length), {
    path: ["nonResourceURLs"],
    error: "none beside resources or namespaces: a rule is about resources, or about other paths",
  });

/** The level at which each request is noted; a rule decides for what it matches first. */
export type AuditRule = z.infer<typeof auditRuleSchema>;

const wholeNumber = (most: number, what: string) =>
  z.int(`a whole number ${what}`).min(0, "at least 0").max(most, `at most ${most}`);

const audit = z.strictObject({
  policy: z
    .enum(["none", "writes", "metadata"], "none, writes or metadata")
    .optional()
    .describe(
      "What is logged, without any body: `writes`: each change, each look at Secrets and each way into a pod, but for the heartbeats of components. `metadata`: every request but those. `none`: no log. Default: `writes`.",
    ),
  policyFile: path
    .optional()
    .describe("Instead of `policy`: file with a Policy of audit.k8s.io/v1, relative to the project or with ~/."),
  rules: z
    .array(auditRuleSchema, "a list of rules")
    .min(1, "at least one rule")
    .optional()
    .describe("Instead of `policy`: rules of a Policy of audit.k8s.io/v1, each as upstream spells it."),
  path: text(
    /^(-|\/var\/log\/plainkube\/[A-Za-z0-9][A-Za-z0-9._-]*)$/,
    "a file in /var/log/plainkube, or - for the journal",
  )
    .default("/var/log/plainkube/audit.log")
    .describe("The log (--audit-log-path): a file in /var/log/plainkube, or `-` for the journal of kube-apiserver."),
  maxAge: wholeNumber(3650, "of days")
    .default(30)
    .describe("Days for which rotated logs are kept; 0 keeps them for ever (--audit-log-maxage)."),
  maxBackup: wholeNumber(1000, "of files")
    .default(10)
    .describe("Rotated logs that are kept; 0 keeps all (--audit-log-maxbackup)."),
  maxSize: wholeNumber(100000, "of megabytes")
    .min(1, "at least 1")
    .default(100)
    .describe("Size in megabytes at which the log is rotated (--audit-log-maxsize)."),
});

const egressWays =
  "direct, a CONNECT proxy like https://proxy.example.com:8132, or its socket like unix:///run/proxy.sock";
const egress = (what: string) =>
  text(/^(direct|https:\/\/[A-Za-z0-9.-]+:[0-9]{1,5}|unix:\/\/\/[A-Za-z0-9._/-]+)$/, egressWays, 4096)
    .refine((way) => !way.startsWith("https:") || Boolean(URL.parse(way)?.port), egressWays)
    .refine(
      (way) => !/^unix:\/+(tmp|var\/tmp|home|root|run\/user)\//.test(way),
      "a socket outside of /tmp, /var/tmp, /home and /root, which the API server does not see",
    )
    .optional()
    .describe(`How ${what} are reached. Default: directly.`);

/** A URL that tokens and clients compare as text: no part of it has a second spelling. */
const httpsUrl = text(
  /^https:\/\/[a-z0-9.-]+(:[0-9]{1,5})?(\/[A-Za-z0-9._-]+)*$/,
  "an https URL without query, fragment or slash at its end, like https://issuer.example.com/cluster",
  2000,
);

const pluginName = text(/^[A-Za-z]+$/, "the name of an admission plugin, like NodeRestriction", 64);

const apiServer = z.strictObject({
  authorizationModes: z
    .array(z.enum(authorizationModes, `one of ${authorizationModes.join(", ")}`), "a list of modes")
    .min(1, "at least one mode")
    .default(["Node", "RBAC"])
    .describe("Who decides what a request may do, in this order (--authorization-mode)."),
  admissionPlugins: z
    .strictObject({
      enable: z
        .array(pluginName, "a list of plugins")
        .default([])
        .describe(
          "Plugins that are on beside upstream's defaults and NodeRestriction, which only `disable` turns off (--enable-admission-plugins).",
        ),
      disable: z
        .array(pluginName, "a list of plugins")
        .default([])
        .describe("Plugins of upstream's defaults that are off (--disable-admission-plugins)."),
      config: z
        .record(
          pluginName,
          z.record(z.string(), z.json("a value of YAML"), "an object of fields"),
          "an object of plugins",
        )
        .default({})
        .describe("Plugin → its configuration, as upstream spells it (--admission-control-config-file)."),
    })
    .prefault({})
    .describe("What may refuse or complete an object before it is stored."),
  audit: audit.prefault({}).describe("The log of who asked for what."),
  egressSelector: z
    .strictObject({
      cluster: egress("kubelets, aggregated APIs and webhooks"),
      controlplane: egress("webhooks for audit, authentication and authorization"),
      etcd: egress("etcd's members"),
    })
    .prefault({})
    .describe("Ways out of the API server (--egress-selector-config-file)."),
  serviceAccounts: z
    .strictObject({
      issuer: httpsUrl
        .optional()
        .describe("Who signs tokens of service accounts. Default: https://kubernetes.default.svc.`network.dnsDomain`."),
      jwksUri: httpsUrl
        .optional()
        .describe("Where the keys are that tokens are checked with. Default: `issuer`/openid/v1/jwks."),
      lookup: z
        .boolean("true or false")
        .default(true)
        .describe("Whether a token stored in a Secret ends with that Secret and its service account."),
    })
    .prefault({})
    .describe("Tokens of service accounts."),
  corsAllowedOrigins: z
    .array(text(plainText, "text in one line", 1000).min(1, "a regular expression"), "a list of regular expressions")
    .default([])
    .describe(
      "Origins from which a browser may use the API: regular expressions, anchored at both ends, like ^https://ui\\.example\\.com$.",
    ),
  encryption: z
    .strictObject({
      secrets: z
        .boolean("true or false")
        .default(true)
        .describe("Whether etcd gets Secrets encrypted (secretbox). Those stored earlier stay readable either way."),
      generation: wholeNumber(100, "of keys")
        .default(1)
        .describe(
          "Number of keys: raised by one, a new key encrypts and the older ones still decrypt. A lower number is refused: what the lost key encrypted would be lost.",
        ),
    })
    .prefault({})
    .describe("Encryption at rest."),
  externalHostname: nameOrAddress
    .optional()
    .describe("Name or address by which the API server tells clients to reach it (--external-hostname)."),
  storageMediaType: z
    .enum(
      ["application/vnd.kubernetes.protobuf", "application/json"],
      "application/vnd.kubernetes.protobuf or application/json",
    )
    .default("application/vnd.kubernetes.protobuf")
    .describe("Form in which etcd gets objects (--storage-media-type)."),
  hostKubeconfigs: z
    .boolean("true or false")
    .default(false)
    .describe(
      "Puts the administrator's kubeconfigs on the control plane's host: admin.yaml and admin-kube-aggregator.yaml in /etc/plainkube/kubeconfig, for root alone.",
    ),
});

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

const binding = z.strictObject({
  clusterRole: text(roleName, "the name of a ClusterRole, like view").describe(
    "ClusterRole that the user gets: a built-in one (view, edit, admin, cluster-admin) or one of your own.",
  ),
  namespace: text(dnsLabel, "a namespace: lower-case letters, digits and `-`", 63)
    .optional()
    .describe("The only namespace in which the user gets it; it must exist. Default: the whole cluster."),
});

const user = z.strictObject({
  // X.520 gives names in certificates 64 characters.
  name: text(accountName, "a user name of letters, digits, `.`, `_`, `@` and `-`", 64).describe(
    "Name of the user, unique in the cluster: the CN of the client certificate.",
  ),
  groups: z
    .array(text(groupName, "a group of letters, digits, `.`, `_`, `@`, `:` and `-`", 64), "a list of groups")
    .min(1, "at least one group")
    .max(20, "at most 20 groups")
    .describe("Groups of the user: each an O of the client certificate."),
  bindings: z
    .array(binding, "a list of bindings")
    .max(50, "at most 50 bindings")
    .default([])
    .describe("What the user may do."),
});

const proof = z.strictObject({
  replicas: z
    .int("a whole number from 1 to 1000")
    .min(1, "at least 1")
    .max(1000, "at most 1000")
    .optional()
    .describe("Replicas of the Deployment that proves the cluster. Default: one for each worker, and at least 4."),
});

const kubelet = z.strictObject({
  certificates: z
    .enum(["issued", "bootstrapped"], "issued or bootstrapped")
    .default("issued")
    .describe(
      "`issued`: each kubelet gets its client and serving certificate with its files. `bootstrapped`: it asks the cluster for both, with a certificate of its own node's identity, and renews them itself.",
    ),
});

/** A driver's name as Kubernetes has it, told from a misspelt local-path by its dot. */
const driver =
  /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+(\/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$/;
const provisioner = "local-path, or the name of a driver that you install, like ebs.csi.aws.com";

const storageClass = z.strictObject({
  name: text(dnsName, "a DNS name: lower-case letters, digits, `-` and `.`").describe("Name of the StorageClass."),
  provisioner: z
    .union([z.literal("local-path"), text(driver, provisioner)], provisioner)
    .describe("Who makes the volumes: `local-path`, which comes along, or the name of a driver that you install."),
  default: z.boolean("true or false").default(false).describe("Whether claims that name no class take this one."),
  reclaimPolicy: z
    .enum(["Delete", "Retain"], "Delete or Retain")
    .default("Delete")
    .describe("What happens to a volume when its claim is deleted."),
  volumeBindingMode: z
    .enum(["Immediate", "WaitForFirstConsumer"], "Immediate or WaitForFirstConsumer")
    .default("WaitForFirstConsumer")
    .describe("When a volume is made: with its claim, or with the first pod that uses it."),
  parameters: z
    .record(z.string(), z.string("text; put a number or true in quotes"), "an object of texts")
    .default({})
    .describe("Parameters of the provisioner."),
});

const addons = z.strictObject({
  metricsServer: z
    .boolean("true or false")
    .default(false)
    .describe("metrics-server, so that `kubectl top` and HorizontalPodAutoscalers work."),
  storageClasses: z
    .array(storageClass, "a list of storage classes")
    .default([])
    .describe("StorageClasses. Those with the provisioner `local-path` make volumes in a folder of a claim's node."),
  localPath: z
    .string("an absolute path")
    .max(200, "a path of at most 200 characters")
    .regex(
      /^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9_.-]+){2,}$/,
      "an absolute path of at least two folders, of letters, digits, `-`, `_` and `.`",
    )
    .default(paths.volumes)
    .describe("Folder on each worker for volumes of `local-path`: nothing else is in it, and `destroy` empties it."),
});

export const clusterSchema = z.strictObject({
  clusterName: text(dnsLabel, "a DNS label: lower-case letters, digits and `-`", 63)
    .default("plainkube")
    .describe("Name of the cluster in kubeconfigs."),
  system: z
    .enum(systems, "cluster, minimal or api-only (`full` and `dev` are stacks of the system cluster)")
    .default("cluster")
    .describe(
      "What is built. `cluster`: everything of a sound cluster. `minimal`: the fewest components, flags and files that answer a Service, below /opt/k8s; see docs/systems/minimal.md. `api-only`: etcd and kube-apiserver alone, on one host; see docs/systems/api-only.md.",
    ),
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
  apiServer: apiServer.prefault({}).describe("The API server: who may do what, what is logged, what is encrypted."),
  kubelet: kubelet.prefault({}).describe("How kubelets come to their certificates."),
  addons: addons.prefault({}).describe("What runs inside the cluster beside DNS."),
  overrides: overrides.prefault({}).describe("Extra flags and config-file fields per component."),
  certificates: certificates.prefault({}).describe("Lifetimes and names in certificates."),
  users: z
    .array(user, "a list of users")
    .max(100, "at most 100 users")
    .default([])
    .describe("Users beside the administrator: each gets a client certificate, a kubeconfig and bindings."),
  proof: proof.prefault({}).describe("The Deployment and Service that prove the cluster."),
});

/** A stack's configuration with every default filled in. */
export type ClusterConfig = z.infer<typeof clusterSchema>;
export type HostConfig = ClusterConfig["hosts"][number];
export type Role = (typeof roles)[number];
