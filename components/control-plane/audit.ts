import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { expandPath } from "../expand-path.ts";
import { paths } from "../paths.ts";
import { yaml } from "../render.ts";
import { type AuditRule, auditRuleSchema, type ClusterConfig } from "../schema.ts";
import type { ClusterSpec } from "../spec.ts";
import { nothing, type ServerPart } from "./part.ts";

type AuditSettings = ClusterConfig["apiServer"]["audit"];

const policySchema = z.strictObject({
  apiVersion: z.literal("audit.k8s.io/v1", "audit.k8s.io/v1"),
  kind: z.literal("Policy", "Policy"),
  metadata: z.record(z.string(), z.json()).optional(),
  omitStages: auditRuleSchema.shape.omitStages,
  omitManagedFields: auditRuleSchema.shape.omitManagedFields,
  rules: z.array(auditRuleSchema, "a list of rules").min(1, "at least one rule"),
});

/** A Policy as upstream spells it (audit.k8s.io/v1). */
export type AuditPolicy = z.infer<typeof policySchema>;

/** Resources whose bodies hold credentials. */
const credentials = [
  { group: "", resource: "secrets" },
  { group: "", resource: "serviceaccounts/token" },
  { group: "authentication.k8s.io", resource: "tokenreviews" },
];

/** Leases and events, and what else is written all the time. */
const repeated = (...more: readonly string[]) => [
  { group: "coordination.k8s.io", resources: ["leases"] },
  { group: "", resources: ["events", ...more] },
  { group: "events.k8s.io", resources: ["events"] },
];

/** What components repeat for as long as they live. */
const heartbeats: readonly AuditRule[] = [
  {
    level: "None",
    users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"],
    resources: repeated(),
  },
  { level: "None", userGroups: ["system:serviceaccounts:kube-system"], resources: repeated() },
  { level: "None", userGroups: ["system:nodes"], resources: repeated("nodes/status", "pods/status") },
  { level: "None", nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"] },
];

/** Ways into pods and nodes: a request to them reads and changes more than the API shows. */
const waysIn = ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"];

const presets = {
  writes: [
    ...heartbeats,
    { level: "Metadata", resources: [{ group: "", resources: ["secrets", ...waysIn] }] },
    { level: "Metadata", verbs: ["create", "update", "patch", "delete", "deletecollection"] },
    { level: "None" },
  ],
  metadata: [...heartbeats, { level: "Metadata" }],
} satisfies Record<string, readonly AuditRule[]>;

/** A policy file's content, or what is wrong with it. */
export function readPolicyFile(file: string): { readonly policy: AuditPolicy } | { readonly problem: string } {
  let content: unknown;
  try {
    content = parse(readFileSync(file, "utf8"));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { problem: code ?? message.split("\n")[0] ?? "no YAML" };
  }
  const { data, error } = policySchema.safeParse(content);
  if (data) return { policy: data };
  const [issue] = error.issues;
  const at = issue?.path.map(String).join(".") || "the file";
  const message = issue?.message.replace(/^Invalid input: expected (.*), received .*$/, "$1");
  return { problem: `${at}: ${issue?.code === "unrecognized_keys" ? message : `expected ${message}`}` };
}

/** The policy that the settings choose; undefined means no log. The settings were checked before. */
export function auditPolicyOf(audit: AuditSettings, projectDirectory: string): AuditPolicy | undefined {
  if (audit.policyFile !== undefined) {
    const read = readPolicyFile(expandPath(audit.policyFile, projectDirectory));
    if ("problem" in read) throw new Error(`${audit.policyFile}: ${read.problem}`);
    return read.policy;
  }
  const { policy = "writes" } = audit;
  const rules = audit.rules ?? (policy === "none" ? undefined : presets[policy]);
  // A request is noted once, when it is answered.
  return rules && { apiVersion: "audit.k8s.io/v1", kind: "Policy", omitStages: ["RequestReceived"], rules: [...rules] };
}

/** The first rule by which a body with credentials could be logged, as a text; undefined if there is none. */
export function revealing({ rules }: Pick<AuditPolicy, "rules">): string | undefined {
  for (const { group, resource } of credentials) {
    for (const [i, rule] of rules.entries()) {
      if (rule.nonResourceURLs?.length) continue;
      const named = rule.resources?.filter(
        (r) => r.group === group && (!r.resources?.length || r.resources.some((name) => isNamed(resource, name))),
      );
      if (rule.resources?.length && !named?.length) continue;
      if (rule.level === "Request" || rule.level === "RequestResponse") {
        return `rules[${i}] of level ${rule.level}, for ${resource}`;
      }
      const narrowed = [rule.users, rule.userGroups, rule.verbs, rule.namespaces].some((some) => some?.length);
      if (!narrowed && (!named?.length || named.some((r) => !r.resourceNames?.length))) break;
    }
  }
  return undefined;
}

/** Whether a rule's name means a resource: `*`, `pods`, `pods/log`, `pods/*` or `*` with `/scale` behind it. */
function isNamed(resource: string, name: string): boolean {
  const [whole = "", sub] = resource.split("/");
  // Upstream's `pods/*` means pods, too.
  return name === "*" || name === resource || name === `${whole}/*` || (sub !== undefined && name === `*/${sub}`);
}

/** Log and policy of what the API server is asked. */
export function renderAudit({ apiServer, auditPolicy }: ClusterSpec): ServerPart {
  if (!auditPolicy) return nothing;
  const file = `${paths.etc}/audit-policy.yaml`;
  const { path, maxAge, maxBackup, maxSize } = apiServer.audit;
  return {
    flags: {
      "audit-policy-file": file,
      "audit-log-path": path,
      "audit-log-maxage": maxAge,
      "audit-log-maxbackup": maxBackup,
      "audit-log-maxsize": maxSize,
    },
    files: [{ path: file, content: yaml(auditPolicy) }],
  };
}
