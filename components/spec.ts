import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { z } from "zod";
import { checkAddons } from "./addons/check.ts";
import type { BinarySettings } from "./binaries/pins.ts";
import { stagesOf } from "./binaries/stages.ts";
import { contains, networkOf, nthAddress, overlaps, prefixLength } from "./cidr.ts";
import { checkCompatibility } from "./compatibility/check.ts";
import { checkOwned } from "./compatibility/owned.ts";
import { checkMeaning } from "./compatibility/systems.ts";
import { type AuditPolicy, auditPolicyOf } from "./control-plane/audit.ts";
import { checkApiServer } from "./control-plane/check.ts";
import { expandPath } from "./expand-path.ts";
import { shellWord } from "./host/shipment.ts";
import { checkNetwork } from "./network/check.ts";
import { controllerPorts, controlPlanePorts, networkPorts, workerPorts } from "./ports.ts";
import { repeated } from "./repeated.ts";
import { type ClusterConfig, clusterSchema, type HostConfig, hostKeySchema, roles } from "./schema.ts";
import { setting, show, showText } from "./shown.ts";
import { nearest } from "./suggestion.ts";
import { checkSystem, parts, type System } from "./system.ts";
import { checkUsers } from "./users/check.ts";
import { supportedVersions, unsupportedVersion, type VersionSet, versionKey } from "./versions.ts";

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

export type UserSpec = ClusterConfig["users"][number];

/** What a configuration chooses for the cluster as a whole, with every default filled in. */
export type Choices = Omit<ClusterConfig, "hosts" | "versions" | "ssh" | "binaries" | "proof">;

/** The whole cluster as plain, validated data: what every concern renders from. */
export interface ClusterSpec extends Choices {
  readonly binaries: BinarySettings;
  readonly hosts: readonly HostSpec[];
  readonly controlPlane: HostSpec;
  readonly workers: readonly HostSpec[];
  readonly versions: VersionSet;
  readonly proof: { readonly replicas: number };
  /** What the API server logs; undefined means nothing. */
  readonly auditPolicy: AuditPolicy | undefined;
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
  const lost = lostNames(raw);
  const parsed = clusterSchema.safeParse(raw);
  const refuse = (problems: readonly Problem[]) =>
    new ConfigError(withoutPasswords(inOrder([...lost, ...problems]), raw));
  if (!parsed.success) {
    // What else is wrong shows as well, as far as the well-formed rest can be looked at.
    const problems = parsed.error.issues.flatMap((issue) => schemaProblems(issue, raw));
    const once = problems.filter((p, i) => problems.findIndex((q) => q.what === p.what && q.got === p.got) === i);
    const rest = salvage(raw, parsed.error);
    throw refuse(rest ? [...once, ...contradictions(rest.config, around, rest.isSound).problems] : once);
  }
  const config = parsed.data;
  const { problems, privateKey, hostKeys, jump } = contradictions(config, around, () => true);
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
  if (lost.length + problems.length > 0 || !controlPlane || !versions) throw refuse(problems);
  return {
    ...config,
    hosts,
    controlPlane,
    workers: hosts.filter((h) => h.isWorker),
    versions,
    ssh: { ...config.ssh, privateKey, jump },
    auditPolicy: auditPolicyOf(config.apiServer.audit, around.projectDirectory),
    proof: { replicas: config.proof.replicas ?? Math.max(4, config.hosts.filter(takesAnyPod).length) },
    apiEndpoint: `https://${controlPlane.address}:6443`,
    apiServiceAddress: nthAddress(config.network.serviceCidr, 1),
    dnsAddress: nthAddress(config.network.serviceCidr, 10),
  };
}

/** How deep lists and objects can lie in each other: far more than any component's fields need. */
const mostLevels = 40;

/** Names that objects of JavaScript lose, so that no other check sees them. Throws ConfigError when nothing could look deep enough. */
function lostNames(raw: Readonly<Record<string, unknown>>): Problem[] {
  const problems: Problem[] = [];
  const open: [value: unknown, path: readonly PropertyKey[]][] = [[raw, []]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [value, path] = next;
    if (typeof value !== "object" || value === null) continue;
    if (path.length > mostLevels) {
      throw new ConfigError([
        {
          what: `${name(path.slice(0, 1))} has lists and objects too deep in each other`,
          got: `more than ${mostLevels} levels`,
          expected: `at most ${mostLevels}`,
          remedy: "correct it; see docs/config.md",
        },
      ]);
    }
    for (const [key, inner] of Object.entries(value)) {
      const below = [...path, Array.isArray(value) ? Number(key) : key];
      if (key === "__proto__") {
        problems.push({
          what: `${name(below)} is not a setting`,
          got: show(key),
          expected: "any other name",
          remedy: "remove it",
        });
      }
      open.push([inner, below]);
    }
  }
  return problems;
}

/** A password that was also put where it does not belong is hidden there. */
function withoutPasswords(problems: readonly Problem[], raw: Readonly<Record<string, unknown>>): Problem[] {
  const password = at(raw, ["ssh", "privateKeyPassword"]);
  if (typeof password !== "string" || password.length < 6) return [...problems];
  const hide = (text: string) => text.replaceAll(password, "[secret]");
  return problems.map((p) => ({ what: hide(p.what), got: hide(p.got), expected: p.expected, remedy: hide(p.remedy) }));
}

/** Problems in the order of docs/config.md, as Pulumi does not hand over the order of the file; those of one setting as found. */
function inOrder(problems: readonly Problem[]): Problem[] {
  const place = (problem: Problem): number[] => {
    const path = /^plainkube:([A-Za-z0-9_.[\]-]+)/.exec(problem.what)?.[1]?.match(/[A-Za-z0-9_-]+/g) ?? [];
    return path.map((key, i) => {
      if (/^[0-9]+$/.test(key)) return Number(key);
      const above = path.slice(0, i).map((k) => (/^[0-9]+$/.test(k) ? Number(k) : k));
      const at = keysAt(above).indexOf(key);
      return at < 0 ? Number.MAX_SAFE_INTEGER : at;
    });
  };
  return problems
    .map((problem) => ({ problem, at: place(problem) }))
    .sort((a, b) => {
      const i = a.at.findIndex((n, k) => n !== b.at[k]);
      return i < 0 ? a.at.length - b.at.length : (a.at[i] ?? -1) - (b.at[i] ?? -1);
    })
    .map(({ problem }) => problem);
}

/** Whether pods run on a host that tolerate no taint. */
export const takesAnyPod = (host: Pick<HostConfig, "roles" | "taints">): boolean =>
  host.roles.includes("worker") && host.taints.every((t) => t.effect === "PreferNoSchedule");

const at = (raw: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null && Object.hasOwn(value, key)
        ? (value as Record<PropertyKey, unknown>)[key]
        : undefined,
    raw,
  );

const name = (path: readonly PropertyKey[]): string => `plainkube:${setting(path)}`;

function schemaProblems(issue: z.core.$ZodIssue, raw: unknown): Problem[] {
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(issue.path);
    return issue.keys.map((key) =>
      key.includes(":") && issue.path.length === 0
        ? otherNamespace(key)
        : {
            what: `${name([...issue.path, key])} is not a setting`,
            got: show(key),
            expected: known.length ? `one of ${known.join(", ")}` : "a setting of docs/config.md",
            remedy: isPath(key, known)
              ? `put it below plainkube:${key.split(".")[0]}, as \`pulumi config set --path\` does`
              : suggestion(key, known),
          },
    );
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
  const secret = issue.path.some((p) => /password/i.test(String(p)));
  const known = keysAt(issue.path);
  return [
    {
      what: `${name(issue.path)} is ${value === undefined ? "missing" : "not valid"}`,
      got: secret && value !== undefined ? "[secret]" : show(value),
      expected:
        known.length > 0
          ? `an object with ${known.join(", ")}`
          : issue.message.replace(/^Invalid (input|option): expected (.*?)(, received .*)?$/, "$2"),
      remedy: remedyOf(issue, value),
    },
  ];
}

/** A key of the file that only looks like one of ours. */
const otherNamespace = (key: string): Problem => ({
  what: `${showText(key)} is in a namespace that nobody reads`,
  got: show(key.split(":")[0]),
  expected: "plainkube, or the name of a provider",
  remedy: `write plainkube:${showText(key.slice(key.indexOf(":") + 1))}`,
});

function remedyOf(issue: z.core.$ZodIssue, value: unknown): string {
  const path = setting(issue.path);
  if (path === "hosts" && (value === undefined || (Array.isArray(value) && value.length === 0))) {
    return "list the hosts under plainkube:hosts in Pulumi.<stack>.yaml; if they are there, see that the file is named for this stack";
  }
  if (value === undefined) return "set it in the stack's file; see docs/config.md";
  if (value === null) return "give it a value, or remove its line for the default; see docs/config.md";
  const quotes = quotesOf(issue, value);
  if (quotes !== undefined) return quotes;
  const options = path === "versions.kubernetes" ? Object.keys(supportedVersions) : optionsOf(issue);
  const near = ["string", "number"].includes(typeof value) ? nearest(String(value).trim(), options) : undefined;
  return near ? `did you mean ${near}?` : "correct it; see docs/config.md";
}

/** What to do where YAML takes a value for something else than was meant. */
function quotesOf(issue: z.core.$ZodIssue, value: unknown): string | undefined {
  if (issue.code !== "invalid_type") return undefined;
  if (issue.expected === "string" && ["number", "boolean"].includes(typeof value)) {
    return `put it in quotes: YAML takes it for a ${typeof value}`;
  }
  const isNumber = ["int", "number"].includes(issue.expected) && typeof value === "string" && /^-?[0-9]+$/.test(value);
  if (isNumber) return "write it without quotes";
  const isWord = issue.expected === "boolean" && /^(true|false|yes|no|on|off)$/i.test(String(value));
  return isWord ? "write true or false, without quotes" : undefined;
}

/** The values that a setting can have, where these are few. */
const optionsOf = (issue: z.core.$ZodIssue): string[] =>
  issue.code === "invalid_value"
    ? issue.values.map(String)
    : issue.code === "invalid_union"
      ? issue.errors.flat().flatMap(optionsOf)
      : [];

/** The keys that the schema knows at a path, for the error of an unknown one. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let at: unknown = clusterSchema;
  for (const key of path) {
    at = unwrap(at);
    const def = (at as { def?: { shape?: Record<string, unknown>; element?: unknown } }).def;
    at = typeof key === "number" ? def?.element : def?.shape?.[String(key)];
  }
  const def = (unwrap(at) as { def?: { shape?: object; keyType?: { options?: string[] } } } | undefined)?.def;
  return def?.keyType?.options ?? Object.keys(def?.shape ?? {});
}

function unwrap(schema: unknown): unknown {
  let inner = schema as { def?: { innerType?: unknown } } | undefined;
  while (inner?.def?.innerType) inner = inner.def.innerType as typeof inner;
  return inner;
}

/** Whether a name is a path to a setting below one of these. */
const isPath = (key: string, known: readonly string[]): boolean =>
  /^[A-Za-z]+\.[A-Za-z.]+$/.test(key) && known.includes(key.split(".")[0] ?? "");

function suggestion(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  return near ? `did you mean ${near}?` : "remove it, or see docs/config.md for the right name";
}

/** Tells whether nothing at or below (or above) a setting was refused, so that it can be judged further. */
export type Soundness = (...settings: string[]) => boolean;

/** Notes a problem; `got` is shown shortened and without what may be secret, a text as it is and anything else as JSON. */
export type Report = (what: string, got: unknown, expected: string, remedy: string) => void;

/** Looks for contradictions between the settings of one concern. */
export type Check = (config: ClusterConfig, add: Report, isSound: Soundness, around: Surroundings) => void;

/** The checks of the concerns that have their own. */
const checks: readonly Check[] = [
  checkSystem,
  checkCompatibility,
  checkOwned,
  checkMeaning,
  checkApiServer,
  checkNetwork,
  checkAddons,
  checkUsers,
];

/** The configuration without what the schema refused, with stand-ins for what hosts must have. */
function salvage(
  raw: Readonly<Record<string, unknown>>,
  error: z.ZodError,
): { config: ClusterConfig; isSound: Soundness } | undefined {
  const copy = structuredClone(raw) as Record<PropertyKey, unknown>;
  const refused: string[] = [];
  const hole = Symbol("refused");
  for (const issue of error.issues) {
    if (issue.code === "unrecognized_keys") {
      const holder = at(copy, issue.path);
      if (typeof holder !== "object" || holder === null) continue;
      for (const key of issue.keys) Reflect.deleteProperty(holder, key);
      continue;
    }
    refused.push(setting(issue.path));
    // What a list holds goes as a whole, as it may need what was refused; only hosts have stand-ins.
    const inList = issue.path.findLastIndex((key) => typeof key === "number");
    const path = inList > 1 ? issue.path.slice(0, inList + 1) : issue.path;
    const parent = at(copy, path.slice(0, -1)) as Record<PropertyKey, unknown> | undefined | typeof hole;
    const key = path.at(-1) ?? "";
    // It may have gone with what holds it.
    if (typeof parent !== "object") continue;
    if (Array.isArray(parent)) parent[Number(key)] = hole;
    else delete parent[key];
  }
  const complete = () => {
    const hosts = Array.isArray(copy.hosts) && copy.hosts.length > 0 ? copy.hosts : [hole];
    copy.hosts = hosts.map((host, i) => ({
      name: `host-${i}`,
      address: `192.0.2.${i % 255}`,
      roles: roles,
      ...(host === hole ? {} : host),
    }));
    return clusterSchema.safeParse(withoutHoles(copy, hole));
  };
  let again = complete();
  // A list may be too short without what was refused: then it goes, too.
  for (const { path } of again.error?.issues ?? []) {
    const holder = at(copy, path.slice(0, -1));
    if (typeof holder !== "object" || holder === null) continue;
    Reflect.deleteProperty(holder, path.at(-1) ?? "");
    refused.push(setting(path));
  }
  if (!again.success) again = complete();
  const related = (a: string, b: string) => a === b || a.startsWith(`${b}.`) || a.startsWith(`${b}[`);
  return again.success
    ? {
        config: again.data,
        isSound: (...settings) => !settings.some((s) => refused.some((r) => related(r, s) || related(s, r))),
      }
    : undefined;
}

function withoutHoles(value: unknown, hole: symbol): unknown {
  if (Array.isArray(value)) return value.filter((v) => v !== hole).map((v) => withoutHoles(v, hole));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, withoutHoles(v, hole)]));
}

/** What the schema cannot see: contradictions between settings, and files that are named but cannot be used. */
function contradictions(config: ClusterConfig, around: Surroundings, isSound: Soundness) {
  const problems: Problem[] = [];
  const add: Report = (what, got, expected, remedy) => {
    problems.push({ what, got: typeof got === "string" ? showText(got) : show(got), expected, remedy });
  };
  for (const check of checks) check(config, add, isSound, around);

  const { hosts, network, certificates, runtime } = config;
  for (const key of ["name", "address"] as const) {
    const values = hosts.map((h, i) => (isSound(`hosts[${i}].${key}`) ? h[key] : undefined));
    for (const twice of repeated(values.filter((v) => v !== undefined))) {
      const where = values.flatMap((v, i) => (v === twice ? [`hosts[${i}]`] : []));
      add(
        `plainkube:hosts has the ${key} ${twice} ${where.length === 2 ? "twice" : `${where.length} times`}`,
        where.join(" and "),
        `each ${key} once`,
        "give each host its own",
      );
    }
  }
  const rolesAreSound = hosts.every((_, i) => isSound(`hosts[${i}].roles`));
  const controlPlanes = hosts.filter((h) => h.roles.includes("control-plane")).map((h) => h.name);
  if (rolesAreSound && controlPlanes.length !== 1) {
    add(
      controlPlanes.length ? "plainkube:hosts has several control planes" : "plainkube:hosts has no control plane",
      controlPlanes.length ? controlPlanes.join(", ") : "none",
      "exactly one host with the role control-plane",
      controlPlanes.length ? "keep the role on one host" : "add control-plane to the roles of one host",
    );
  }
  const taintsAreSound = hosts.every((_, i) => isSound(`hosts[${i}].taints`));
  const open = hosts.filter(takesAnyPod).length;
  const needsWorkers = isSound("system") && parts[config.system].has("nodes");
  if (needsWorkers && rolesAreSound && !hosts.some((h) => h.roles.includes("worker"))) {
    add(
      "plainkube:hosts has no worker",
      "none",
      "at least one host with the role worker",
      "add worker to a host's roles",
    );
  } else if (needsWorkers && rolesAreSound && taintsAreSound && open === 0) {
    add(
      "plainkube:hosts has no worker for CoreDNS and the proof",
      "a taint NoSchedule or NoExecute on every worker",
      "at least one worker without such a taint",
      "remove the taint from one worker, or make it PreferNoSchedule",
    );
  }
  if (
    needsWorkers &&
    config.proof.replicas !== undefined &&
    rolesAreSound &&
    taintsAreSound &&
    config.proof.replicas < open
  ) {
    add(
      "plainkube:proof.replicas is too small to reach every worker",
      `${config.proof.replicas} for ${open} workers`,
      `at least ${open}: one for each worker that takes ordinary pods`,
      "raise it, or leave it out",
    );
  }
  for (const [i, h] of hosts.entries()) {
    for (const label of Object.keys(h.labels)) {
      const domain = label.includes("/") ? (label.split("/")[0] ?? "") : "";
      const reserved = /(^|\.)(kubernetes|k8s)\.io$/.test(domain);
      const allowed = /(^|\.)(kubelet|node)\.kubernetes\.io$/.test(domain) || kubeletLabels.includes(label);
      if (reserved && !allowed) {
        add(
          `plainkube:hosts[${i}].labels has a label that a kubelet may not set`,
          label,
          `a label outside kubernetes.io and k8s.io, below node.kubernetes.io or kubelet.kubernetes.io, or one of ${kubeletLabels.join(", ")}`,
          `remove it, and set it with \`kubectl label node ${h.name}\``,
        );
      }
    }
    for (const twice of isSound(`hosts[${i}].roles`) ? repeated(h.roles) : []) {
      add(`plainkube:hosts[${i}].roles names a role twice`, twice, "each role once", "remove one of them");
    }
    const own = ownPorts(config.system, h);
    if (isSound("system", `hosts[${i}].port`, `hosts[${i}].roles`) && own.includes(h.port)) {
      add(
        `plainkube:hosts[${i}].port is taken by the cluster`,
        h.port,
        `a port of sshd other than ${own.join(", ")}`,
        "let sshd listen on another port, like 22",
      );
    }
    const taints = h.taints.map((t) => `${t.key}:${t.effect}`);
    for (const twice of repeated(taints)) {
      add(
        `plainkube:hosts[${i}].taints has a taint twice`,
        twice,
        "a key and effect once (the API's rule)",
        "remove one of them",
      );
    }
    for (const [key, what] of [
      ["podCidr", "pods"],
      ["serviceCidr", "Services"],
    ] as const) {
      if (isSound(`hosts[${i}].address`, `network.${key}`) && contains(network[key], h.address)) {
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
    if (isSound(`network.${key}`) && networkOf(network[key]) !== network[key]) {
      add(
        `plainkube:network.${key} has host bits set`,
        network[key],
        "a network's first address",
        `use ${networkOf(network[key])}`,
      );
    }
  }
  if (isSound("network.podCidr", "network.serviceCidr") && overlaps(network.podCidr, network.serviceCidr)) {
    add(
      "plainkube:network.podCidr and plainkube:network.serviceCidr overlap",
      `${network.podCidr} and ${network.serviceCidr}`,
      "two ranges with no address in common",
      "change one of them",
    );
  }
  const servicePrefix = prefixLength(network.serviceCidr);
  if (isSound("network.serviceCidr") && (servicePrefix < 12 || servicePrefix > 28)) {
    add(
      "plainkube:network.serviceCidr has an unusable size",
      network.serviceCidr,
      "a prefix length from 12 (kube-apiserver's limit) to 28 (CoreDNS takes the tenth address)",
      "choose another range",
    );
  }
  const shares = 2 ** (network.nodeCidrMaskSize - prefixLength(network.podCidr));
  const podsAreSound = isSound("network.podCidr", "network.nodeCidrMaskSize");
  if (podsAreSound && isSound("hosts") && shares < hosts.length) {
    add(
      "plainkube:network.podCidr is too small for the hosts",
      `${network.podCidr} in shares of /${network.nodeCidrMaskSize} for ${hosts.length} hosts`,
      "a share for each host",
      "widen network.podCidr or raise network.nodeCidrMaskSize",
    );
  } else if (podsAreSound && shares > 65536) {
    add(
      "plainkube:network.nodeCidrMaskSize is too far from the prefix of podCidr",
      `/${network.nodeCidrMaskSize} in ${network.podCidr}`,
      "at most 16 bits between them (kube-controller-manager's limit)",
      "lower network.nodeCidrMaskSize or narrow network.podCidr",
    );
  }
  // The network, the gateway and the broadcast address are no pod's.
  const podAddresses = 2 ** (32 - network.nodeCidrMaskSize) - 3;
  if (isSound("network.nodeCidrMaskSize", "runtime.maxPods") && podAddresses < runtime.maxPods) {
    add(
      "plainkube:network.nodeCidrMaskSize leaves a node too few addresses for its pods",
      `${podAddresses} addresses in a /${network.nodeCidrMaskSize} for ${runtime.maxPods} pods (runtime.maxPods)`,
      "an address for each pod",
      `lower network.nodeCidrMaskSize, or runtime.maxPods to ${podAddresses}`,
    );
  }
  if (!supportedVersions[config.versions.kubernetes]) problems.push(unsupportedVersion(config.versions.kubernetes));
  const { binaries } = config;
  for (const key of ["mirror", "directory"] as const) {
    if (binaries.source === key && binaries[key] === undefined && isSound(`binaries.${key}`)) {
      add(
        `plainkube:binaries.${key} is missing`,
        "nothing",
        `a value, as binaries.source is ${key}`,
        `set binaries.${key}`,
      );
    }
  }
  if (binaries.source === "directory" && binaries.directory !== undefined) {
    const found = statSync(resolve(around.projectDirectory, binaries.directory), { throwIfNoEntry: false });
    if (!found?.isDirectory()) {
      add(
        "plainkube:binaries.directory is not a folder",
        `${binaries.directory}: ${found ? "a file" : "not there"}`,
        "a folder that holds the binaries, absolute or relative to the project",
        "correct the path",
      );
    }
  }
  const pinnable = [...new Set([...Object.keys(versionKey), ...Object.values(stagesOf(config)).flat()])];
  for (const key of Object.keys(binaries.checksums)) {
    const plain = key.replace(/-(amd64|arm64)$/, "");
    if (!pinnable.includes(plain)) {
      add(
        "plainkube:binaries.checksums names something unknown",
        key,
        `one of ${pinnable.join(", ")}, with -amd64 or -arm64 behind it for one architecture`,
        suggestion(plain, pinnable),
      );
    }
  }
  const { validityHours, caValidityHours, earlyRenewalHours } = certificates;
  if (isSound("certificates") && validityHours > caValidityHours) {
    add(
      "plainkube:certificates.validityHours is longer than its authority's",
      `${validityHours} of ${caValidityHours} hours`,
      "at most certificates.caValidityHours",
      "shorten it, or raise certificates.caValidityHours",
    );
  }
  if (isSound("certificates") && earlyRenewalHours >= validityHours) {
    add(
      "plainkube:certificates.earlyRenewalHours leaves no time to use a certificate",
      `${earlyRenewalHours} of ${validityHours} hours`,
      "less than certificates.validityHours",
      "lower it",
    );
  }

  const privateKey = isSound("ssh.privateKeyFile", "ssh.privateKeyPassword")
    ? readPrivateKey(config, around, add)
    : undefined;
  const knownHostsFile = expandPath(config.ssh.knownHostsFile, around.projectDirectory);
  const keyOf = (
    where: string,
    what: string,
    endpoint: { address: string; port: number; hostKey?: string | undefined },
  ): string => {
    const found = endpoint.hostKey ?? knownHost(knownHostsFile, endpoint.address, endpoint.port);
    if (found) return found.split(" ").slice(0, 2).join(" ");
    // Without an address or a file there is nothing to say about its key.
    const needed = ["address", "port", "hostKey"].map((key) => `${where}.${key}`);
    if (!isSound(...needed, "ssh.knownHostsFile")) return "";
    add(
      `plainkube:${what} has no pinned host key`,
      `no entry for ${endpoint.address} (port ${endpoint.port}) in ${config.ssh.knownHostsFile}`,
      "hostKey in the configuration, or an entry in the known_hosts file",
      `after comparing the fingerprint: ssh-keyscan -t ed25519 -p ${endpoint.port} ${endpoint.address} >> ${pathWord(config.ssh.knownHostsFile)}`,
    );
    return "";
  };
  const hostKeys = hosts.map((h, i) => keyOf(`hosts[${i}]`, `hosts[${i}] (${h.name})`, h));
  const { jump: j } = config.ssh;
  const jump: Endpoint | undefined = j && {
    host: j.address,
    port: j.port,
    user: j.user,
    hostKey: keyOf("ssh.jump", "ssh.jump", j),
  };
  return { problems, privateKey, hostKeys, jump };
}

/** TCP ports that components will listen on. */
const ownPorts = (system: System, { roles }: Pick<HostConfig, "roles">): number[] => [
  ...(roles.includes("control-plane") ? controlPlanePorts : []),
  ...(roles.includes("control-plane") && parts[system].has("controllers") ? controllerPorts : []),
  ...(roles.includes("worker") ? workerPorts : []),
  ...(parts[system].has("nodes") ? networkPorts : []),
];

/** A path of the configuration as a shell takes it; `~/` stays outside quotes. */
const pathWord = (path: string): string => {
  const [home, rest] = path.startsWith("~/") ? ["~/", path.slice(2)] : ["", path];
  return `${home}${showText(shellWord(rest))}`;
};

/** Labels of kubernetes.io that a kubelet may set on itself and that do not follow from the host. */
const kubeletLabels = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

function readPrivateKey(config: ClusterConfig, around: Surroundings, add: Report): string | undefined {
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
    const key = readFileSync(expandPath(file, around.projectDirectory), "utf8");
    if (!/^-----BEGIN ([A-Z ]*PRIVATE KEY)-----\s[\s\S]+^-----END \1-----/m.test(key)) {
      add(
        "plainkube:ssh.privateKeyFile holds no whole private key",
        file,
        "a private key in PEM or OpenSSH format",
        "name the file without .pub, as ssh-keygen wrote it",
      );
    } else if (isEncrypted(key) && !config.ssh.privateKeyPassword) {
      add(
        "plainkube:ssh.privateKeyFile needs a passphrase",
        `${file}, which is encrypted, and no ssh.privateKeyPassword`,
        "its passphrase, or a key without one",
        "pulumi config set --secret --path plainkube:ssh.privateKeyPassword, or leave the file out to use the SSH agent",
      );
    }
    return key;
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

/** Whether a private key is of no use without a passphrase. */
function isEncrypted(pem: string): boolean {
  if (!pem.includes("OPENSSH PRIVATE KEY")) return /ENCRYPTED/.test(pem);
  const blob = Buffer.from(pem.replace(/-----[^-]*-----/g, ""), "base64").toString("latin1");
  // The name of the cipher follows a magic text and its own length.
  return !blob.startsWith("openssh-key-v1\0\0\0\0\x04none");
}

/** The pinned key of an address in a known_hosts file (hashed names too), ed25519 first. */
function knownHost(file: string, address: string, port: number): string | undefined {
  const name = port === 22 ? address : `[${address}]:${port}`;
  const found = spawnSync("ssh-keygen", ["-F", name, "-f", file], { encoding: "utf8" });
  if (found.error)
    throw new Error(`cannot run ssh-keygen, which reads known_hosts files; install the OpenSSH client`, {
      cause: found.error,
    });
  const lines = found.stdout.split("\n").map((line) => line.trim().split(/\s+/));
  const revoked = lines.filter(([marker]) => marker === "@revoked").map((words) => words.slice(2, 4).join(" "));
  const keys = lines
    .map((words) => words.slice(1, 3).join(" "))
    .filter((key) => hostKeySchema.safeParse(key).success && !revoked.includes(key));
  return keys.find((k) => k.startsWith("ssh-ed25519 ")) ?? keys[0];
}
