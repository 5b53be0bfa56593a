import { hasLocalPath } from "../addons/storage/provisioner.ts";
import type { Stage } from "../binaries/stages.ts";
import { controlPlanePorts, networkPorts, workerPorts } from "../ports.ts";
import type { Choices, HostSpec } from "../spec.ts";

/** What a host's roles bring to it. */
export interface HostPlan {
  /** Binaries, first things first. */
  readonly stages: readonly Stage[];
  /** systemd units that will be made. */
  readonly units: readonly string[];
  /** TCP ports that will be listened on. */
  readonly ports: readonly number[];
  /** Space in /opt that binaries and images take, in MiB. */
  readonly needMib: number;
  /** Folder in which volumes will be made, if any. */
  readonly volumes?: string;
}

/** What a host's roles bring to it, so that preflight can look for what stands in the way. */
export function planOf({ addons, kubelet }: Choices, { isControlPlane, isWorker }: HostSpec): HostPlan {
  const addonMib = (addons.metricsServer ? 70 : 0) + (hasLocalPath(addons) ? 50 : 0);
  return {
    stages: [
      ...(isControlPlane ? ["control-plane" as const] : []),
      ...(isWorker ? ["runtime" as const] : []),
      "network",
    ],
    units: [
      ...(isControlPlane ? ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] : []),
      ...(isControlPlane && kubelet.certificates === "bootstrapped" ? ["plainkube-approver"] : []),
      ...(isWorker ? ["plainkube-containerd", "plainkube-images", "kubelet"] : []),
      "kube-proxy",
      "plainkube-routes",
    ].map((unit) => `${unit}.service`),
    ports: [...(isControlPlane ? controlPlanePorts : []), ...(isWorker ? workerPorts : []), ...networkPorts],
    needMib: (isControlPlane ? 500 : 0) + (isWorker ? 500 + addonMib : 0) + 200,
    ...(isWorker && hasLocalPath(addons) && { volumes: addons.localPath }),
  };
}
