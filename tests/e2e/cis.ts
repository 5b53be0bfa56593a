/**
 * The CIS Kubernetes Benchmark's checks (numbers of versions 1.11 and 1.12) as they stand for a whole cluster: what is asked, whether it
 * is so, why not, and how a running host shows it. docs/security.md holds the same rows.
 */

/** What a running host shows of itself. */
export interface HostFacts {
  /** Program → flag → value, as the process was started with. */
  readonly flags: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Path → type (f, d), permissions in octal, owner and group, like `f 600 root:root`. */
  readonly files: Readonly<Record<string, string>>;
  /** Configuration files by name without `.yaml`, parsed. */
  readonly config: Readonly<Record<string, Record<string, unknown>>>;
  /** The kubelet's configuration as it says itself. */
  readonly kubelet: Readonly<Record<string, unknown>>;
}

export type CisState = "pass" | "differs" | "not applicable";

export interface CisRow {
  readonly id: string;
  readonly what: string;
  readonly state: CisState;
  readonly reason: string;
  /** Whether a host is as the row says; missing where there is nothing on a host to look at. */
  readonly holds?: (facts: HostFacts) => boolean;
}

type Holds = (facts: HostFacts) => boolean;

const flagsOf = (facts: HostFacts, program: string) => facts.flags[program] ?? {};
const flagIs =
  (program: string, name: string, value: string | RegExp): Holds =>
  (facts) => {
    const got = flagsOf(facts, program)[name];
    return got !== undefined && (typeof value === "string" ? got === value : value.test(got));
  };
const flagIsNot =
  (program: string, name: string, value: RegExp): Holds =>
  (facts) =>
    facts.flags[program] !== undefined && !value.test(flagsOf(facts, program)[name] ?? "");
const noFlag =
  (program: string, name: string): Holds =>
  (facts) =>
    facts.flags[program] !== undefined && !(name in flagsOf(facts, program));
const all =
  (...holds: readonly Holds[]): Holds =>
  (facts) =>
    holds.every((h) => h(facts));
const not =
  (holds: Holds): Holds =>
  (facts) =>
    !holds(facts);

/** Whether there are such files, and all of them have at most these permissions and this owner. */
const files =
  (path: RegExp, mode: number, owner = "root:root"): Holds =>
  (facts) => {
    const found = Object.entries(facts.files).filter(([p]) => path.test(p));
    return (
      found.length > 0 &&
      found.every(([, fact]) => {
        const [, permissions = "777", who] = fact.split(" ");
        return (Number.parseInt(permissions, 8) & ~mode) === 0 && who === owner;
      })
    );
  };

const noFile =
  (path: RegExp): Holds =>
  (facts) =>
    !Object.keys(facts.files).some((p) => path.test(p));

/** A field of a configuration by its path. */
const at = (config: unknown, path: string): unknown =>
  path.split(".").reduce<unknown>((c, key) => (c as Record<string, unknown> | undefined)?.[key], config);
const configIs =
  (file: string, path: string, test: (value: unknown) => boolean): Holds =>
  (facts) =>
    test(at(facts.config[file], path));
const kubeletIs =
  (path: string, test: (value: unknown) => boolean): Holds =>
  (facts) =>
    test(at(facts.kubelet, path));
const is =
  (expected: unknown) =>
  (value: unknown): boolean =>
    value === expected;
const isPath = (value: unknown): boolean => typeof value === "string" && value.startsWith("/etc/plainkube/pki/");

const api = "kube-apiserver";
const manager = "kube-controller-manager";
const strong = /^TLS_ECDHE_(ECDSA|RSA)_WITH_(AES_128_GCM_SHA256|AES_256_GCM_SHA384|CHACHA20_POLY1305_SHA256)$/;
const areStrong = (list: unknown): boolean =>
  Array.isArray(list) && list.length > 0 && list.every((name) => strong.test(String(name)));
const ciphersOf =
  (program: string): Holds =>
  (facts) =>
    areStrong(flagsOf(facts, program)["tls-cipher-suites"]?.split(","));

const unitOf = (name: string): RegExp => new RegExp(`^/etc/systemd/system/${name}\\.service$`);
const unitReason =
  "a unit file, 0644: it holds no secret, and systemd warns of units that others cannot read, as it tells everyone what they say";
/** Readable by all, and written by root alone. */
const openUnit = (name: string): Holds => all(files(unitOf(name), 0o644), not(files(unitOf(name), 0o600)));
const rootUnit = (name: string): Holds => files(unitOf(name), 0o644);
const kubeconfig = (name: string): Holds => files(new RegExp(`^/etc/plainkube/kubeconfig/${name}\\.yaml$`), 0o600);
const config = (name: string): Holds => files(new RegExp(`^/etc/plainkube/${name}\\.yaml$`), 0o600);
const cniFiles = /^\/etc\/plainkube\/cni\/net\.d\/./;

const manifests = (first: number, name: string, unit: string): CisRow[] => [
  {
    id: `1.1.${first}`,
    what: `${name}: definition is 0600`,
    state: "differs",
    reason: unitReason,
    holds: openUnit(unit),
  },
  { id: `1.1.${first + 1}`, what: `${name}: definition is root's`, state: "pass", reason: "", holds: rootUnit(unit) },
];
const admins = "none on the host, unless `apiServer.hostKubeconfigs` puts it there, 0600 root";

const plugin = (name: string): Holds => flagIs(api, "enable-admission-plugins", new RegExp(`(^|,)${name}(,|$)`));
const notDisabled = (name: string): Holds =>
  flagIsNot(api, "disable-admission-plugins", new RegExp(`(^|,)${name}(,|$)`));

export const cisRows: readonly CisRow[] = [
  ...manifests(1, "API server", api),
  ...manifests(3, "controller manager", manager),
  ...manifests(5, "scheduler", "kube-scheduler"),
  ...manifests(7, "etcd", "etcd"),
  {
    id: "1.1.9",
    what: "CNI files are 0600",
    state: "differs",
    reason: "containerd writes the one file 0644, in a folder that is 0700",
    holds: (facts) => files(cniFiles, 0o644)(facts) && /^d 700 /.test(facts.files["/etc/plainkube/cni/net.d"] ?? ""),
  },
  { id: "1.1.10", what: "CNI files are root's", state: "pass", reason: "", holds: files(cniFiles, 0o777) },
  {
    id: "1.1.11",
    what: "etcd's data folder is 0700",
    state: "pass",
    reason: "",
    holds: files(/^\/var\/lib\/plainkube\/etcd$/, 0o700),
  },
  {
    id: "1.1.12",
    what: "etcd's data folder is owned by a user etcd",
    state: "differs",
    reason: "root's: no user is added to the host; the unit runs without a capability and sees no key but etcd's",
    holds: all(files(/^\/var\/lib\/plainkube\/etcd$/, 0o700, "root:root")),
  },
  {
    id: "1.1.13",
    what: "administrator's kubeconfig is 0600",
    state: "not applicable",
    reason: admins,
    holds: noFile(/^\/etc\/plainkube\/kubeconfig\/admin/),
  },
  {
    id: "1.1.14",
    what: "administrator's kubeconfig is root's",
    state: "not applicable",
    reason: admins,
    holds: noFile(/^\/etc\/plainkube\/kubeconfig\/admin/),
  },
  { id: "1.1.15", what: "scheduler's kubeconfig is 0600", state: "pass", reason: "", holds: kubeconfig("scheduler") },
  { id: "1.1.16", what: "scheduler's kubeconfig is root's", state: "pass", reason: "", holds: kubeconfig("scheduler") },
  {
    id: "1.1.17",
    what: "controller manager's kubeconfig is 0600",
    state: "pass",
    reason: "",
    holds: kubeconfig("controller-manager"),
  },
  {
    id: "1.1.18",
    what: "controller manager's kubeconfig is root's",
    state: "pass",
    reason: "",
    holds: kubeconfig("controller-manager"),
  },
  {
    id: "1.1.19",
    what: "PKI is root's",
    state: "pass",
    reason: "",
    holds: files(/^\/etc\/plainkube\/pki(\/|$)/, 0o777),
  },
  { id: "1.1.20", what: "certificates are 0644", state: "pass", reason: "", holds: files(/\/pki\/.*\.crt$/, 0o644) },
  { id: "1.1.21", what: "keys are 0600", state: "pass", reason: "", holds: files(/\/pki\/.*\.key$/, 0o600) },

  {
    id: "1.2.1",
    what: "no anonymous requests",
    state: "differs",
    reason:
      "but for `/livez`, `/readyz` and `/healthz`, which load balancers and probes ask; from 1.34 on, RBAC alone limits them before",
    holds: all(flagIs(api, "authentication-config", /./), (facts) => {
      const anonymous = at(facts.config.authentication, "anonymous") as { conditions?: { path: string }[] } | undefined;
      return anonymous?.conditions?.map((c) => c.path).join(" ") === "/livez /readyz /healthz";
    }),
  },
  { id: "1.2.2", what: "no static token file", state: "pass", reason: "", holds: noFlag(api, "token-auth-file") },
  {
    id: "1.2.3",
    what: "DenyServiceExternalIPs is on",
    state: "differs",
    reason:
      "takes a part of the API away; `apiServer.admissionPlugins.enable` turns it on where not all who make Services are trusted",
    holds: all(flagIs(api, "enable-admission-plugins", /./), not(plugin("DenyServiceExternalIPs"))),
  },
  {
    id: "1.2.4",
    what: "client certificate for kubelets",
    state: "pass",
    reason: "",
    holds: all(flagIs(api, "kubelet-client-certificate", /./), flagIs(api, "kubelet-client-key", /./)),
  },
  {
    id: "1.2.5",
    what: "kubelets' certificates are checked",
    state: "pass",
    reason: "",
    holds: flagIs(api, "kubelet-certificate-authority", /./),
  },
  {
    id: "1.2.6",
    what: "not AlwaysAllow",
    state: "pass",
    reason: "",
    holds: all(flagIs(api, "authorization-mode", /./), flagIsNot(api, "authorization-mode", /AlwaysAllow/)),
  },
  { id: "1.2.7", what: "mode Node", state: "pass", reason: "", holds: flagIs(api, "authorization-mode", /\bNode\b/) },
  { id: "1.2.8", what: "mode RBAC", state: "pass", reason: "", holds: flagIs(api, "authorization-mode", /\bRBAC\b/) },
  {
    id: "1.2.9",
    what: "EventRateLimit is on",
    state: "differs",
    reason:
      "its configuration is v1alpha1, and right limits depend on the cluster; `apiServer.admissionPlugins` takes both",
    holds: all(flagIs(api, "enable-admission-plugins", /./), not(plugin("EventRateLimit"))),
  },
  {
    id: "1.2.10",
    what: "AlwaysAdmit is off",
    state: "pass",
    reason: "",
    holds: all(flagIs(api, "enable-admission-plugins", /./), not(plugin("AlwaysAdmit"))),
  },
  {
    id: "1.2.11",
    what: "AlwaysPullImages is on",
    state: "differs",
    reason: "images that come along are in no registry; refused with them, see `apiServer.admissionPlugins.enable`",
    holds: all(flagIs(api, "enable-admission-plugins", /./), not(plugin("AlwaysPullImages"))),
  },
  { id: "1.2.12", what: "ServiceAccount is on", state: "pass", reason: "", holds: notDisabled("ServiceAccount") },
  {
    id: "1.2.13",
    what: "NamespaceLifecycle is on",
    state: "pass",
    reason: "",
    holds: notDisabled("NamespaceLifecycle"),
  },
  { id: "1.2.14", what: "NodeRestriction is on", state: "pass", reason: "", holds: plugin("NodeRestriction") },
  { id: "1.2.15", what: "profiling is off", state: "pass", reason: "", holds: flagIs(api, "profiling", "false") },
  { id: "1.2.16", what: "audit log is on", state: "pass", reason: "", holds: flagIs(api, "audit-log-path", /^\//) },
  {
    id: "1.2.17",
    what: "audit log is kept 30 days",
    state: "pass",
    reason: "",
    holds: flagIs(api, "audit-log-maxage", "30"),
  },
  {
    id: "1.2.18",
    what: "10 rotated audit logs are kept",
    state: "pass",
    reason: "",
    holds: flagIs(api, "audit-log-maxbackup", "10"),
  },
  {
    id: "1.2.19",
    what: "audit log is rotated at 100 MB",
    state: "pass",
    reason: "",
    holds: flagIs(api, "audit-log-maxsize", "100"),
  },
  {
    id: "1.2.20",
    what: "request timeout is reasonable",
    state: "pass",
    reason: "upstream's minute",
    holds: noFlag(api, "request-timeout"),
  },
  {
    id: "1.2.21",
    what: "tokens of removed ServiceAccounts are refused",
    state: "pass",
    reason: "",
    holds: flagIs(api, "service-account-lookup", "true"),
  },
  {
    id: "1.2.22",
    what: "own key for ServiceAccount tokens",
    state: "pass",
    reason: "",
    holds: flagIs(api, "service-account-key-file", /./),
  },
  {
    id: "1.2.23",
    what: "client certificate for etcd",
    state: "pass",
    reason: "",
    holds: all(flagIs(api, "etcd-certfile", /./), flagIs(api, "etcd-keyfile", /./)),
  },
  {
    id: "1.2.24",
    what: "serving certificate",
    state: "pass",
    reason: "",
    holds: all(flagIs(api, "tls-cert-file", /./), flagIs(api, "tls-private-key-file", /./)),
  },
  { id: "1.2.25", what: "authority of clients", state: "pass", reason: "", holds: flagIs(api, "client-ca-file", /./) },
  { id: "1.2.26", what: "authority of etcd", state: "pass", reason: "", holds: flagIs(api, "etcd-cafile", /./) },
  {
    id: "1.2.27",
    what: "encryption at rest",
    state: "pass",
    reason: "",
    holds: flagIs(api, "encryption-provider-config", /./),
  },
  {
    id: "1.2.28",
    what: "a strong encryption provider comes first",
    state: "pass",
    reason: "secretbox",
    holds: (facts) => {
      const resources = facts.config.encryption?.resources as { providers: object[] }[] | undefined;
      return Object.keys(resources?.[0]?.providers[0] ?? {})[0] === "secretbox";
    },
  },
  { id: "1.2.29", what: "strong ciphers alone", state: "pass", reason: "", holds: ciphersOf(api) },
  {
    id: "1.2.30",
    what: "no prolonged ServiceAccount tokens",
    state: "pass",
    reason: "",
    holds: flagIs(api, "service-account-extend-token-expiration", "false"),
  },

  {
    id: "1.3.1",
    what: "ended pods are removed at a threshold",
    state: "pass",
    reason: "1000",
    holds: flagIs(manager, "terminated-pod-gc-threshold", "1000"),
  },
  { id: "1.3.2", what: "profiling is off", state: "pass", reason: "", holds: flagIs(manager, "profiling", "false") },
  {
    id: "1.3.3",
    what: "own credentials for each controller",
    state: "pass",
    reason: "",
    holds: flagIs(manager, "use-service-account-credentials", "true"),
  },
  {
    id: "1.3.4",
    what: "key for ServiceAccount tokens",
    state: "pass",
    reason: "",
    holds: flagIs(manager, "service-account-private-key-file", /./),
  },
  {
    id: "1.3.5",
    what: "pods get the API's authority",
    state: "pass",
    reason: "",
    holds: flagIs(manager, "root-ca-file", /./),
  },
  {
    id: "1.3.6",
    what: "RotateKubeletServerCertificate is on",
    state: "pass",
    reason: "upstream's default",
    holds: flagIsNot(manager, "feature-gates", /RotateKubeletServerCertificate=false/),
  },
  {
    id: "1.3.7",
    what: "listens on loopback alone",
    state: "pass",
    reason: "",
    holds: flagIs(manager, "bind-address", "127.0.0.1"),
  },
  {
    id: "1.4.1",
    what: "profiling is off",
    state: "pass",
    reason: "",
    holds: configIs("scheduler", "enableProfiling", is(false)),
  },
  {
    id: "1.4.2",
    what: "listens on loopback alone",
    state: "pass",
    reason: "",
    holds: flagIs("kube-scheduler", "bind-address", "127.0.0.1"),
  },

  {
    id: "2.1",
    what: "serving certificate",
    state: "pass",
    reason: "",
    holds: all(
      configIs("etcd", "client-transport-security.cert-file", isPath),
      configIs("etcd", "client-transport-security.key-file", isPath),
    ),
  },
  {
    id: "2.2",
    what: "clients need a certificate",
    state: "pass",
    reason: "",
    holds: configIs("etcd", "client-transport-security.client-cert-auth", is(true)),
  },
  {
    id: "2.3",
    what: "no self-made certificates",
    state: "pass",
    reason: "",
    holds: configIs("etcd", "client-transport-security", (c) => c !== undefined && at(c, "auto-tls") !== true),
  },
  {
    id: "2.4",
    what: "certificate for peers",
    state: "pass",
    reason: "",
    holds: all(
      configIs("etcd", "peer-transport-security.cert-file", isPath),
      configIs("etcd", "peer-transport-security.key-file", isPath),
    ),
  },
  {
    id: "2.5",
    what: "peers need a certificate",
    state: "pass",
    reason: "",
    holds: configIs("etcd", "peer-transport-security.client-cert-auth", is(true)),
  },
  {
    id: "2.6",
    what: "no self-made certificates for peers",
    state: "pass",
    reason: "",
    holds: configIs("etcd", "peer-transport-security", (c) => c !== undefined && at(c, "auto-tls") !== true),
  },
  {
    id: "2.7",
    what: "an authority of its own",
    state: "pass",
    reason: "",
    holds: (facts) =>
      isPath(at(facts.config.etcd, "client-transport-security.trusted-ca-file")) &&
      at(facts.config.etcd, "client-transport-security.trusted-ca-file") !== flagsOf(facts, api)["client-ca-file"],
  },

  {
    id: "3.1.1",
    what: "no client certificates for people",
    state: "differs",
    reason:
      "there is no identity provider; users' certificates have an end, and `up` makes others. OIDC: a flag in `overrides.kubeApiserver`",
  },
  { id: "3.1.2", what: "no ServiceAccount tokens for people", state: "pass", reason: "plainkube gives people none" },
  {
    id: "3.1.3",
    what: "no bootstrap tokens for people",
    state: "pass",
    reason: "there are none, for kubelets neither",
    holds: all(flagIs(api, "profiling", /./), noFlag(api, "enable-bootstrap-token-auth")),
  },
  { id: "3.2.1", what: "an audit policy", state: "pass", reason: "", holds: flagIs(api, "audit-policy-file", /./) },
  {
    id: "3.2.2",
    what: "audit policy covers what matters",
    state: "pass",
    reason: "every change, every read of Secrets, every way into a pod; never a body with credentials",
    holds: (facts) => {
      const policy = JSON.stringify(facts.config["audit-policy"] ?? {});
      return (
        /"Metadata".*"secrets".*"pods\/exec"/.test(policy) &&
        !/"Request(Response)?"/.test(policy.replace("RequestReceived", ""))
      );
    },
  },

  { id: "4.1.1", what: "kubelet's unit is 0600", state: "differs", reason: unitReason, holds: openUnit("kubelet") },
  { id: "4.1.2", what: "kubelet's unit is root's", state: "pass", reason: "", holds: rootUnit("kubelet") },
  { id: "4.1.3", what: "kube-proxy's kubeconfig is 0600", state: "pass", reason: "", holds: kubeconfig("kube-proxy") },
  {
    id: "4.1.4",
    what: "kube-proxy's kubeconfig is root's",
    state: "pass",
    reason: "",
    holds: kubeconfig("kube-proxy"),
  },
  { id: "4.1.5", what: "kubelet's kubeconfig is 0600", state: "pass", reason: "", holds: kubeconfig("kubelet") },
  { id: "4.1.6", what: "kubelet's kubeconfig is root's", state: "pass", reason: "", holds: kubeconfig("kubelet") },
  {
    id: "4.1.7",
    what: "file of the clients' authority is 0644",
    state: "pass",
    reason: "",
    holds: files(/\/pki\/kubelet\/ca\.crt$/, 0o644),
  },
  {
    id: "4.1.8",
    what: "file of the clients' authority is root's",
    state: "pass",
    reason: "",
    holds: files(/\/pki\/kubelet\/ca\.crt$/, 0o777),
  },
  { id: "4.1.9", what: "kubelet's configuration is 0600", state: "pass", reason: "", holds: config("kubelet") },
  { id: "4.1.10", what: "kubelet's configuration is root's", state: "pass", reason: "", holds: config("kubelet") },

  {
    id: "4.2.1",
    what: "no anonymous requests",
    state: "pass",
    reason: "",
    holds: kubeletIs("authentication.anonymous.enabled", is(false)),
  },
  {
    id: "4.2.2",
    what: "not AlwaysAllow",
    state: "pass",
    reason: "",
    holds: kubeletIs("authorization.mode", is("Webhook")),
  },
  {
    id: "4.2.3",
    what: "authority of clients",
    state: "pass",
    reason: "",
    holds: kubeletIs("authentication.x509.clientCAFile", isPath),
  },
  {
    id: "4.2.4",
    what: "no read-only port",
    state: "pass",
    reason: "",
    holds: all(
      configIs("kubelet", "readOnlyPort", is(0)),
      kubeletIs("readOnlyPort", (port) => port === undefined || port === 0),
    ),
  },
  {
    id: "4.2.5",
    what: "idle streams end",
    state: "pass",
    reason: "upstream's four hours",
    holds: kubeletIs("streamingConnectionIdleTimeout", (t) => typeof t === "string" && !/^0/.test(t)),
  },
  {
    id: "4.2.6",
    what: "makes its iptables chains",
    state: "pass",
    reason: "off with `network.kubeProxyMode: nftables`, where there shall be none",
    holds: kubeletIs("makeIPTablesUtilChains", is(true)),
  },
  {
    id: "4.2.7",
    what: "no other name for the host",
    state: "differs",
    reason: "a node is called as the configuration says, and its certificates hold that name",
    holds: flagIs("kubelet", "hostname-override", /./),
  },
  {
    id: "4.2.8",
    what: "limit of events is reasonable",
    state: "pass",
    reason: "upstream's 50 a second",
    holds: kubeletIs("eventRecordQPS", is(50)),
  },
  {
    id: "4.2.9",
    what: "serving certificate",
    state: "pass",
    reason: "",
    holds: all(kubeletIs("tlsCertFile", isPath), kubeletIs("tlsPrivateKeyFile", isPath)),
  },
  {
    id: "4.2.10",
    what: "renews its client certificate",
    state: "differs",
    reason: "`up` renews it; with `kubelet.certificates: bootstrapped` the kubelet does",
    holds: all(kubeletIs("tlsCertFile", isPath), not(kubeletIs("rotateCertificates", is(true)))),
  },
  {
    id: "4.2.11",
    what: "RotateKubeletServerCertificate is on",
    state: "pass",
    reason: "upstream's default",
    holds: (facts) =>
      facts.kubelet.kind !== undefined && at(facts.kubelet, "featureGates.RotateKubeletServerCertificate") !== false,
  },
  {
    id: "4.2.12",
    what: "strong ciphers alone",
    state: "pass",
    reason: "",
    holds: kubeletIs("tlsCipherSuites", areStrong),
  },
  {
    id: "4.2.13",
    what: "limit of processes for each pod",
    state: "pass",
    reason: "4096",
    holds: kubeletIs("podPidsLimit", is(4096)),
  },
  { id: "4.2.14", what: "seccomp by default", state: "pass", reason: "", holds: kubeletIs("seccompDefault", is(true)) },
  {
    id: "4.3.1",
    what: "kube-proxy's metrics on loopback alone",
    state: "pass",
    reason: "upstream's default",
    holds: all(
      configIs("kube-proxy", "kind", is("KubeProxyConfiguration")),
      configIs("kube-proxy", "metricsBindAddress", is(undefined)),
    ),
  },
];
