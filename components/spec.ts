import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { resolve } from "node:path";
import type { z } from "zod";
import type { BinarySettings } from "./binaries/pins.ts";
import { contains, networkOf, nthAddress, overlaps, prefixLength } from "./cidr.ts";
import { type ClusterConfig, clusterSchema, type HostConfig } from "./schema.ts";
import { supportedVersions, unsupportedVersion, type VersionSet } from "./versions.ts";

/** Where and as whom a host is reached; everything in it is checked. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly hostKey: string;
}

export interface HostSpec extends Omit<HostConfig, "hostKey"> {
  readonly hostKey: string;
  readonly isControlPlane: boolean;
  readonly isWorker: boolean;
}

/** The whole cluster as plain, validated data: what every concern renders from. */
export interface ClusterSpec extends Omit<ClusterConfig, "hosts" | "versions" | "ssh" | "binaries"> {
  readonly binaries: BinarySettings;
  readonly hosts: readonly HostSpec[];
  readonly controlPlane: HostSpec;
  readonly workers: readonly HostSpec[];
  readonly versions: VersionSet;
  readonly ssh: Omit<ClusterConfig["ssh"], "jump"> & {
    /** Content of the private key; undefined means the SSH agent. */
    readonly privateKey: string | undefined;
    readonly jump: Endpoint | undefined;
  };
  /** https://address:port of the API server. */
  readonly apiEndpoint: string;
  /** Cluster IP of the `kubernetes` Service: the first address of the service CIDR. */
  readonly apiServiceAddress: string;
  /** Cluster IP of CoreDNS: the tenth address of the service CIDR. */
  readonly dnsAddress: string;
}

/** One thing that is wrong with the configuration. */
export interface Problem {
  readonly what: string;
  readonly got: string;
  readonly expected: string;
  readonly remedy: string;
}

/** Every problem of a configuration at once; thrown before any resource exists. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    const lines = problems.map(
      (p) => `  ${p.what}\n    got:      ${p.got}\n    expected: ${p.expected}\n    remedy:   ${p.remedy}`,
    );
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    super(`${count} in the configuration; nothing was changed.\n${lines.join("\n")}`);
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** What the checks may look at outside the configuration. */
export interface Surroundings {
  /** Relative paths in the configuration start here. */
  readonly projectDirectory: string;
  /** Only previews may do without the means to log in. */
  readonly isPreview: boolean;
  readonly agentSocket: string | undefined;
}

/** Checks a stack's configuration (keys without namespace) and completes it. Throws ConfigError. */
export function parseCluster(raw: Readonly<Record<string, unknown>>, around: Surroundings): ClusterSpec {
  const parsed = clusterSchema.safeParse(raw);
  if (!parsed.success) {
    // What else is wrong shows as well, as far as the well-formed rest can be looked at.
    const partial = salvage(raw, parsed.error);
    const problems = parsed.error.issues.flatMap((issue) => schemaProblems(issue, raw));
    throw new ConfigError(partial ? [...problems, ...contradictions(partial, around).problems] : problems);
  }
  const { problems, privateKey, hostKeys, jump } = contradictions(parsed.data, around);
  const config = parsed.data;
  const hosts = config.hosts.map(
    (host, i): HostSpec => ({
      ...host,
      hostKey: hostKeys[i] ?? "",
      isControlPlane: host.roles.includes("control-plane"),
      isWorker: host.roles.includes("worker"),
    }),
  );
  const controlPlane = hosts.find((h) => h.isControlPlane);
  const versions = supportedVersions[config.versions.kubernetes];
  if (problems.length > 0 || !controlPlane || !versions) throw new ConfigError(problems);
  return {
    ...config,
    hosts,
    controlPlane,
    workers: hosts.filter((h) => h.isWorker),
    versions,
    ssh: { ...config.ssh, privateKey, jump },
    apiEndpoint: `https://${controlPlane.address}:6443`,
    apiServiceAddress: nthAddress(config.network.serviceCidr, 1),
    dnsAddress: nthAddress(config.network.serviceCidr, 10),
  };
}

const show = (value: unknown): string => {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 120 ? `${text.slice(0, 117)}…` : text;
};

const at = (raw: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], raw);

const name = (path: readonly PropertyKey[]): string =>
  `plainkube:${path.map((p, i) => (typeof p === "number" ? `[${p}]` : `${i ? "." : ""}${String(p)}`)).join("")}`;

function schemaProblems(issue: z.core.$ZodIssue, raw: unknown): Problem[] {
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(issue.path);
    return issue.keys.map((key) => ({
      what: `${name([...issue.path, key])} is not a setting`,
      got: show(key),
      expected: known.length ? `one of ${known.join(", ")}` : "a setting of docs/config.md",
      remedy: suggestion(key, known),
    }));
  }
  if (issue.code === "invalid_key") {
    const expected = issue.issues[0]?.message ?? "a valid name";
    return [
      {
        what: `${name(issue.path.slice(0, -1))} has a bad name`,
        got: show(issue.path.at(-1)),
        expected,
        remedy: "correct the name; see docs/config.md",
      },
    ];
  }
  const value = at(raw, issue.path);
  const secret = issue.path.some((p) => String(p).toLowerCase().includes("password"));
  return [
    {
      what: `${name(issue.path)} is ${value === undefined ? "missing" : "not valid"}`,
      got: secret ? "[secret]" : show(value),
      expected: issue.message.replace(/^Invalid (input|option): expected /, ""),
      remedy: value === undefined ? "set it in the stack's file; see docs/config.md" : "correct it; see docs/config.md",
    },
  ];
}

/** The keys that the schema knows at a path, for the error of an unknown one. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let at: unknown = clusterSchema;
  for (const key of path) {
    at = unwrap(at);
    const def = (at as { def?: { shape?: Record<string, unknown>; element?: unknown } }).def;
    at = typeof key === "number" ? def?.element : def?.shape?.[String(key)];
  }
  return Object.keys((unwrap(at) as { def?: { shape?: object } } | undefined)?.def?.shape ?? {});
}

function unwrap(schema: unknown): unknown {
  let inner = schema as { def?: { innerType?: unknown } } | undefined;
  while (inner?.def?.innerType) inner = inner.def.innerType as typeof inner;
  return inner;
}

function suggestion(key: string, known: readonly string[]): string {
  const close = known.find((k) => distance(k.toLowerCase(), key.toLowerCase()) <= 2);
  return close ? `did you mean ${close}?` : "remove it, or see docs/config.md for the right name";
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The configuration without what the schema refused, or undefined if its hosts cannot be read. */
function salvage(raw: Readonly<Record<string, unknown>>, error: z.ZodError): ClusterConfig | undefined {
  const copy = structuredClone(raw) as Record<PropertyKey, unknown>;
  for (const issue of error.issues) {
    const parent = at(copy, issue.path.slice(0, -1)) as Record<PropertyKey, unknown> | undefined;
    if (issue.code === "unrecognized_keys") {
      const holder = at(copy, issue.path) as Record<string, unknown>;
      for (const key of issue.keys) delete holder[key];
    } else if (parent && !Array.isArray(parent) && issue.path.length > 0) {
      delete parent[issue.path.at(-1) as PropertyKey];
    }
  }
  const again = clusterSchema.safeParse(copy);
  return again.success ? again.data : undefined;
}

/** What the schema cannot see: contradictions between settings, and files that are named but cannot be used. */
function contradictions(config: ClusterConfig, around: Surroundings) {
  const problems: Problem[] = [];
  const add = (what: string, got: unknown, expected: string, remedy: string) =>
    problems.push({ what, got: typeof got === "string" ? got : show(got), expected, remedy });

  const { hosts, network, certificates } = config;
  for (const key of ["name", "address"] as const) {
    for (const twice of new Set(hosts.map((h) => h[key]).filter((v, i, all) => all.indexOf(v) !== i))) {
      const where = hosts.flatMap((h, i) => (h[key] === twice ? [`hosts[${i}]`] : []));
      add(
        `plainkube:hosts has the ${key} ${twice} twice`,
        where.join(" and "),
        `a ${key} once`,
        "give each host its own",
      );
    }
  }
  const controlPlanes = hosts.filter((h) => h.roles.includes("control-plane")).map((h) => h.name);
  if (controlPlanes.length !== 1) {
    add(
      controlPlanes.length ? "plainkube:hosts has several control planes" : "plainkube:hosts has no control plane",
      controlPlanes,
      "exactly one host with the role control-plane",
      controlPlanes.length ? "keep the role on one host" : "add control-plane to the roles of one host",
    );
  }
  if (!hosts.some((h) => h.roles.includes("worker"))) {
    add("plainkube:hosts has no worker", [], "at least one host with the role worker", "add worker to a host's roles");
  }
  for (const [i, h] of hosts.entries()) {
    for (const label of Object.keys(h.labels)) {
      const domain = label.includes("/") ? (label.split("/")[0] ?? "") : "";
      const reserved = /(^|\.)(kubernetes|k8s)\.io$/.test(domain);
      if (reserved && !/(^|\.)(kubelet|node)\.kubernetes\.io$/.test(domain)) {
        add(
          `plainkube:hosts[${i}].labels has a label that a kubelet may not set`,
          label,
          "a label outside kubernetes.io and k8s.io, or below node.kubernetes.io or kubelet.kubernetes.io",
          `remove it, and set it with \`kubectl label node ${h.name}\``,
        );
      }
    }
    for (const [key, what] of [
      ["podCidr", "pods"],
      ["serviceCidr", "Services"],
    ] as const) {
      if (contains(network[key], h.address)) {
        add(
          `plainkube:hosts[${i}].address lies in plainkube:network.${key}`,
          `${h.address} in ${network[key]}`,
          `a host's address outside the addresses of ${what}`,
          `choose another network.${key}`,
        );
      }
    }
  }
  for (const key of ["podCidr", "serviceCidr"] as const) {
    if (networkOf(network[key]) !== network[key]) {
      add(
        `plainkube:network.${key} has host bits set`,
        network[key],
        "a network's first address",
        `use ${networkOf(network[key])}`,
      );
    }
  }
  if (overlaps(network.podCidr, network.serviceCidr)) {
    add(
      "plainkube:network.podCidr and plainkube:network.serviceCidr overlap",
      `${network.podCidr} and ${network.serviceCidr}`,
      "two ranges with no address in common",
      "change one of them",
    );
  }
  const servicePrefix = prefixLength(network.serviceCidr);
  if (servicePrefix < 12 || servicePrefix > 28) {
    add(
      "plainkube:network.serviceCidr has an unusable size",
      network.serviceCidr,
      "a prefix length from 12 (kube-apiserver's limit) to 28 (CoreDNS takes the tenth address)",
      "choose another range",
    );
  }
  const shares = 2 ** (network.nodeCidrMaskSize - prefixLength(network.podCidr));
  if (shares < hosts.length) {
    add(
      "plainkube:network.podCidr is too small for the hosts",
      `${network.podCidr} in shares of /${network.nodeCidrMaskSize} for ${hosts.length} hosts`,
      "a share for each host",
      "widen network.podCidr or raise network.nodeCidrMaskSize",
    );
  } else if (shares > 65536) {
    add(
      "plainkube:network.nodeCidrMaskSize is too far from the prefix of podCidr",
      `/${network.nodeCidrMaskSize} in ${network.podCidr}`,
      "at most 16 bits between them (kube-controller-manager's limit)",
      "lower network.nodeCidrMaskSize or narrow network.podCidr",
    );
  }
  if (!supportedVersions[config.versions.kubernetes]) problems.push(unsupportedVersion(config.versions.kubernetes));
  for (const key of ["mirror", "directory"] as const) {
    if (config.binaries.source === key && config.binaries[key] === undefined) {
      add(
        `plainkube:binaries.${key} is missing`,
        "nothing",
        `a value, as binaries.source is ${key}`,
        `set binaries.${key}`,
      );
    }
  }
  if (certificates.validityHours > certificates.caValidityHours) {
    add(
      "plainkube:certificates.validityHours is longer than its authority's",
      `${certificates.validityHours} of ${certificates.caValidityHours} hours`,
      "at most certificates.caValidityHours",
      "shorten it, or raise certificates.caValidityHours",
    );
  }
  if (certificates.earlyRenewalHours >= certificates.validityHours) {
    add(
      "plainkube:certificates.earlyRenewalHours leaves no time to use a certificate",
      `${certificates.earlyRenewalHours} of ${certificates.validityHours} hours`,
      "less than certificates.validityHours",
      "lower it",
    );
  }

  const privateKey = readPrivateKey(config, around, add);
  const knownHostsFile = expand(config.ssh.knownHostsFile, around.projectDirectory);
  const keyOf = (what: string, endpoint: { address: string; port: number; hostKey?: string | undefined }): string => {
    const found = endpoint.hostKey ?? knownHost(knownHostsFile, endpoint.address, endpoint.port);
    if (found) return found.split(" ").slice(0, 2).join(" ");
    add(
      `${what} has no pinned host key`,
      `no entry for ${endpoint.address} (port ${endpoint.port}) in ${config.ssh.knownHostsFile}`,
      "hostKey in the configuration, or an entry in the known_hosts file",
      `after comparing the fingerprint: ssh-keyscan -t ed25519 -p ${endpoint.port} ${endpoint.address} >> ${config.ssh.knownHostsFile}`,
    );
    return "";
  };
  const hostKeys = hosts.map((h, i) => keyOf(`plainkube:hosts[${i}] (${h.name})`, h));
  const { jump: j } = config.ssh;
  const jump: Endpoint | undefined = j && {
    host: j.address,
    port: j.port,
    user: j.user,
    hostKey: keyOf("plainkube:ssh.jump", j),
  };
  return { problems, privateKey, hostKeys, jump };
}

const expand = (path: string, base: string): string =>
  path.startsWith("~/") ? resolve(homedir(), path.slice(2)) : resolve(base, path);

function readPrivateKey(
  config: ClusterConfig,
  around: Surroundings,
  add: (what: string, got: unknown, expected: string, remedy: string) => void,
): string | undefined {
  const file = config.ssh.privateKeyFile;
  if (file === undefined) {
    if (!around.agentSocket && !around.isPreview) {
      add(
        "plainkube:ssh has no way to log in",
        "neither ssh.privateKeyFile nor $SSH_AUTH_SOCK",
        "one of them",
        "set ssh.privateKeyFile, or start an SSH agent and add a key with ssh-add",
      );
    }
    return undefined;
  }
  try {
    const key = readFileSync(expand(file, around.projectDirectory), "utf8");
    if (/^-----BEGIN [A-Z ]*PRIVATE KEY-----/m.test(key)) return key;
    add(
      "plainkube:ssh.privateKeyFile holds no private key",
      file,
      "a private key in PEM or OpenSSH format",
      "name the file without .pub, as ssh-keygen wrote it",
    );
  } catch (error) {
    add(
      "plainkube:ssh.privateKeyFile cannot be read",
      `${file}: ${(error as NodeJS.ErrnoException).code}`,
      "a readable file",
      "correct the path or its permissions, or leave it out to use the SSH agent",
    );
  }
  return undefined;
}

/** The pinned key of an address in a known_hosts file (hashed names too), ed25519 first. */
function knownHost(file: string, address: string, port: number): string | undefined {
  const name = port === 22 ? address : `[${address}]:${port}`;
  const found = spawnSync("ssh-keygen", ["-F", name, "-f", file], { encoding: "utf8" });
  const keys = (found.stdout ?? "")
    .split("\n")
    .filter((line) => line && !line.startsWith("#") && !line.startsWith("@"))
    .map((line) => line.split(" ").slice(1, 3).join(" "));
  return keys.find((k) => k.startsWith("ssh-ed25519 ")) ?? keys[0];
}
