import { expandPath } from "../expand-path.ts";
import { repeated } from "../repeated.ts";
import type { ClusterConfig } from "../schema.ts";
import type { Check, Report, Soundness } from "../spec.ts";
import { nearest } from "../suggestion.ts";
import { parts } from "../system.ts";
import { supportedVersions } from "../versions.ts";
import { configured, pluginsOf } from "./admission.ts";
import { type AuditPolicy, readPolicyFile, revealing } from "./audit.ts";
import { faultOfOrigin } from "./cors.ts";

const setting = (name: string): string => `plainkube:apiServer.${name}`;

/** What contradicts itself in the API server's settings, or would not start. */
export const checkApiServer: Check = (config, add, isSound, around) => {
  if (isSound("apiServer.authorizationModes", "hosts")) checkAuthorization(config, add);
  if (isSound("apiServer.admissionPlugins")) checkAdmission(config, add, isSound);
  if (isSound("apiServer.admissionPlugins", "system")) checkAlwaysPull(config, add);
  if (isSound("apiServer.audit")) checkAudit(config, add, around.projectDirectory);
  if (isSound("apiServer.egressSelector", "hosts")) checkEgress(config, add);
  if (isSound("apiServer.corsAllowedOrigins")) checkOrigins(config, add);
  const { secrets, generation } = config.apiServer.encryption;
  if (isSound("apiServer.encryption") && secrets && generation === 0) {
    add(
      `${setting("encryption")} has no key to encrypt with`,
      "secrets: true and generation: 0",
      "a generation of at least 1, or secrets: false",
      "set apiServer.encryption.generation to 1",
    );
  }
};

function checkAuthorization({ apiServer: { authorizationModes: modes }, hosts }: ClusterConfig, add: Report): void {
  const name = setting("authorizationModes");
  for (const mode of repeated(modes)) add(`${name} names a mode twice`, mode, "each mode once", "remove one of them");
  const unsafe = modes.filter((mode) => mode === "AlwaysAllow" || mode === "AlwaysDeny");
  for (const mode of unsafe) {
    const effect =
      mode === "AlwaysAllow" ? "lets every client do everything" : "refuses what Node and RBAC do not decide";
    add(`${name} has ${mode}`, `${mode}, which ${effect}`, "Node and RBAC", "remove it");
  }
  for (const mode of modes.filter((m) => m === "ABAC" || m === "Webhook")) {
    add(
      `${name} has ${mode}`,
      `${mode}, which needs a file that no setting places on the host`,
      "Node and RBAC",
      "place the file yourself, and set authorization-mode and the file's flag in overrides.kubeApiserver.flags",
    );
  }
  const needed = [...(hosts.some((h) => h.roles.includes("worker")) ? (["Node"] as const) : []), "RBAC" as const];
  const missing = needed.filter((mode) => !modes.includes(mode));
  if (missing.length > 0) {
    add(
      `${name} leaves components without rights`,
      modes.join(", "),
      "Node, which kubelets have their rights from, and RBAC, which all other components have theirs from",
      `add ${missing.join(" and ")}`,
    );
  }
}

function checkAdmission({ apiServer, versions }: ClusterConfig, add: Report, isSound: Soundness): void {
  const { enable, disable, config } = apiServer.admissionPlugins;
  const name = setting("admissionPlugins");
  if (isSound("versions.kubernetes") && supportedVersions[versions.kubernetes]) {
    const known = pluginsOf(versions.kubernetes);
    const lists = { enable, disable, config: Object.keys(config) };
    for (const [list, plugins] of Object.entries(lists)) {
      for (const plugin of plugins.filter((p) => !known.includes(p))) {
        const meant = nearest(plugin, known);
        add(
          `${name}.${list} names a plugin that Kubernetes ${versions.kubernetes} does not have`,
          plugin,
          `one of its plugins (\`kube-apiserver --help\` lists them), spelt as upstream does`,
          meant ? `did you mean ${meant}?` : "remove it, or correct the name",
        );
      }
    }
  }
  for (const plugin of repeated([...new Set(enable), ...new Set(disable)])) {
    add(`${name} both enables and disables a plugin`, plugin, "each plugin in one list", "remove it from one of them");
  }
  for (const plugin of configured.filter((p) => enable.includes(p) && !(p in config))) {
    add(
      `${name}.enable has a plugin that does not start without a configuration`,
      plugin,
      "its configuration in apiServer.admissionPlugins.config",
      "add one, or remove the plugin",
    );
  }
  if (enable.includes("AlwaysDeny")) {
    add(`${name}.enable has AlwaysDeny`, "AlwaysDeny, which refuses every object", "other plugins", "remove it");
  }
}

function checkAlwaysPull({ apiServer, system }: ClusterConfig, add: Report): void {
  const { enable, disable } = apiServer.admissionPlugins;
  if (!parts[system].has("nodes") || !enable.includes("AlwaysPullImages") || disable.includes("AlwaysPullImages"))
    return;
  add(
    `${setting("admissionPlugins")}.enable has AlwaysPullImages`,
    "AlwaysPullImages, with which no pod starts whose image no registry has: those of plainkube itself",
    "other plugins",
    "remove it",
  );
}

function checkAudit({ apiServer: { audit } }: ClusterConfig, add: Report, projectDirectory: string): void {
  const name = setting("audit");
  const given = (["policy", "policyFile", "rules"] as const).filter((key) => audit[key] !== undefined);
  if (given.length > 1) {
    add(`${name} has several policies`, given.join(" and "), "one of policy, policyFile and rules", "keep one of them");
  }
  if (audit.rules) refuseCredentials({ rules: audit.rules }, `${name}.rules`, add);
  if (audit.policyFile === undefined) return;
  const read = readPolicyFile(expandPath(audit.policyFile, projectDirectory));
  if ("policy" in read) {
    refuseCredentials(read.policy, `${name}.policyFile`, add);
  } else {
    add(
      `${name}.policyFile cannot be used`,
      `${audit.policyFile}: ${read.problem}`,
      "a readable file with a Policy of audit.k8s.io/v1",
      "correct the path or the file; see docs/systems/full.md",
    );
  }
}

function refuseCredentials(policy: Pick<AuditPolicy, "rules">, name: string, add: Report): void {
  const rule = revealing(policy);
  if (rule === undefined) return;
  add(
    `${name} would log credentials`,
    rule,
    "at most Metadata for secrets, serviceaccounts/token and tokenreviews (authentication.k8s.io)",
    "put a rule of level Metadata for these before it",
  );
}

function checkEgress({ apiServer: { egressSelector }, hosts, system }: ClusterConfig, add: Report): void {
  for (const [selection, way] of parts[system].has("nodes") ? [] : Object.entries(egressSelector)) {
    if (!way?.startsWith("https:")) continue;
    add(
      `${setting("egressSelector")}.${selection} needs a certificate that the system does not have`,
      `${way} in system ${system}`,
      "direct, or a socket like unix:///run/proxy.sock",
      "change it: proxies are shown the certificate that kubelets are shown",
    );
  }
  const { etcd = "direct" } = egressSelector;
  const own = [
    "127.0.0.1",
    "localhost",
    ...hosts.filter((h) => h.roles.includes("control-plane")).map((h) => h.address),
  ];
  if (etcd === "direct" || etcd.startsWith("unix:") || own.includes(new URL(etcd).hostname)) return;
  add(
    `${setting("egressSelector")}.etcd is a proxy on another host`,
    etcd,
    "direct, or a proxy on the control plane's host: etcd's address there is 127.0.0.1",
    "remove it, or run the proxy there",
  );
}

function checkOrigins({ apiServer: { corsAllowedOrigins } }: ClusterConfig, add: Report): void {
  for (const [i, origin] of corsAllowedOrigins.entries()) {
    const fault = faultOfOrigin(origin);
    if (fault === undefined) continue;
    add(
      `${setting("corsAllowedOrigins")}[${i}] is ${fault}`,
      JSON.stringify(origin),
      "a regular expression that begins with ^ or // and ends with $, like ^https://ui\\.example\\.com$",
      "correct it: what is not anchored lets other sites in",
    );
  }
}
