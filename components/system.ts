import type { Check } from "./spec.ts";

/** What a stack can build. */
export const systems = ["cluster", "minimal", "api-only"] as const;
export type System = (typeof systems)[number];

/** What a system may have beside etcd and kube-apiserver, which every system has. */
export type Part =
  /** Controller manager and scheduler. */
  | "controllers"
  /** Container runtime, kubelet, kube-proxy and the pod network. */
  | "nodes"
  /** CoreDNS. */
  | "dns"
  /** The Deployment and Service that prove the cluster. */
  | "proof";

/** System → its parts. */
export const parts: Readonly<Record<System, ReadonlySet<Part>>> = {
  cluster: new Set(["controllers", "nodes", "dns", "proof"]),
  minimal: new Set(["controllers", "nodes", "proof"]),
  "api-only": new Set(),
};

/** Component that can be overridden → the part that brings it; the others are in every system. */
const overridesOf = {
  kubeControllerManager: "controllers",
  kubeScheduler: "controllers",
  kubelet: "nodes",
  kubeProxy: "nodes",
} as const satisfies Record<string, Part>;

/** Refuses settings of what the system does not have. */
export const checkSystem: Check = (config, add, isSound) => {
  if (!isSound("system")) return;
  const { system } = config;
  const has = parts[system];
  for (const [i, host] of config.hosts.entries()) {
    if (has.has("nodes") || !isSound(`hosts[${i}].roles`) || !host.roles.includes("worker")) continue;
    add(
      `plainkube:hosts[${i}].roles has worker in a system without nodes`,
      `${host.roles.join(", ")} in system ${system}`,
      "control-plane alone",
      host.roles.length > 1
        ? "remove worker from the roles"
        : "remove the host, or set system to cluster (after pulumi destroy)",
    );
  }
  for (const [component, part] of Object.entries(overridesOf)) {
    const { flags, config: fields }: { flags: object; config?: object } =
      config.overrides[component as keyof typeof overridesOf];
    const set = [...Object.keys(flags), ...Object.keys(fields ?? {})];
    if (has.has(part) || set.length === 0) continue;
    add(
      `plainkube:overrides.${component} is for a component that the system does not have`,
      `${set.join(", ")} in system ${system}`,
      "settings of etcd and kubeApiserver",
      `remove overrides.${component}, or set system to cluster (after pulumi destroy)`,
    );
  }
  if (!has.has("proof") && config.proof.replicas !== undefined) {
    add(
      "plainkube:proof.replicas is for a Deployment that the system does not have",
      `${config.proof.replicas} in system ${system}`,
      "nothing",
      "remove proof.replicas, or set system to cluster (after pulumi destroy)",
    );
  }
};
