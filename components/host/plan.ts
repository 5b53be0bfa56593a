import { hasLocalPath } from "../addons/storage/provisioner.ts";
import type { Stage } from "../binaries/stages.ts";
import { controllerPorts, controlPlanePorts, networkPorts, workerPorts } from "../ports.ts";
import type { Choices, HostSpec } from "../spec.ts";
import { parts } from "../system.ts";

/** What a host's roles bring to it. */
export interface HostPlan {
  /** Binaries, first things first. */
  readonly stages: readonly Stage[];
  /** systemd units that will be made. */
  readonly units: readonly string[];
  /** TCP ports that will be listened on. */
  readonly ports: readonly number[];
  /** UDP ports, likewise. */
  readonly udpPorts: readonly number[];
  /** Space in /opt that binaries and images take, in MiB. */
  readonly needMib: number;
  /** Space in /var/lib that etcd, unpacked images and the first logs take, in MiB. */
  readonly needLibMib: number;
  /** Folder in which volumes will be made, if any. */
  readonly volumes?: string;
}

/** A part of it; units by their names without `.service`. */
type Plan = Omit<HostPlan, "udpPorts"> & Partial<Pick<HostPlan, "udpPorts">>;

const nothing: Plan = { stages: [], units: [], ports: [], needMib: 0, needLibMib: 0 };
const controlPlane: Plan = {
  stages: ["control-plane"],
  units: ["etcd", "kube-apiserver"],
  ports: controlPlanePorts,
  needMib: 250,
  needLibMib: 300,
};
const controllers: Plan = {
  stages: ["controllers"],
  units: ["kube-controller-manager", "kube-scheduler"],
  ports: controllerPorts,
  needMib: 250,
  needLibMib: 0,
};
const approver: Plan = { ...nothing, units: ["plainkube-approver"] };
const worker: Plan = {
  stages: ["runtime", "kubelet"],
  units: ["plainkube-containerd", "plainkube-images", "kubelet"],
  ports: workerPorts,
  needMib: 500,
  needLibMib: 300,
};
const networkOf = ({ podNetwork, flannel }: Choices["network"]): Plan => ({
  stages: ["network"],
  units: ["kube-proxy", podNetwork === "flannel" ? "flanneld" : "plainkube-routes"],
  ports: networkPorts,
  udpPorts: podNetwork === "flannel" ? [flannel.port] : [],
  needMib: 200,
  needLibMib: 0,
});

/** What a host's roles bring to it, so that preflight can look for what stands in the way. */
export function planOf(
  { system, network, addons, kubelet }: Choices,
  { isControlPlane, isWorker }: HostSpec,
): HostPlan {
  const has = parts[system];
  const plans = [
    isControlPlane ? controlPlane : nothing,
    isControlPlane && has.has("controllers") ? controllers : nothing,
    isControlPlane && kubelet.certificates === "bootstrapped" ? approver : nothing,
    isWorker ? worker : nothing,
    isWorker && addons.metricsServer ? { ...nothing, needMib: 70, needLibMib: 100 } : nothing,
    isWorker && hasLocalPath(addons) ? { ...nothing, needMib: 50, needLibMib: 100 } : nothing,
    has.has("nodes") ? networkOf(network) : nothing,
  ];
  // In that system containerd's own unit imports them.
  const hasUnit = (unit: string) => system !== "minimal" || unit !== "plainkube-images";
  return {
    stages: plans.flatMap((plan) => plan.stages),
    units: plans.flatMap((plan) => plan.units.filter(hasUnit).map((unit) => `${unit}.service`)),
    ports: plans.flatMap((plan) => plan.ports),
    udpPorts: plans.flatMap((plan) => plan.udpPorts ?? []),
    needMib: plans.reduce((sum, plan) => sum + plan.needMib, 0),
    needLibMib: plans.reduce((sum, plan) => sum + plan.needLibMib, 0),
    ...(isWorker && hasLocalPath(addons) && { volumes: addons.localPath }),
  };
}
