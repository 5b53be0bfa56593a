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
  /** UDP ports, likewise. */
  readonly udpPorts: readonly number[];
  /** Space in /opt that binaries and images take, in MiB. */
  readonly needMib: number;
}

/** What a host's roles bring to it, so that preflight can look for what stands in the way. */
export function planOf({ network }: Choices, { isControlPlane, isWorker }: HostSpec): HostPlan {
  const isFlannel = network.podNetwork === "flannel";
  return {
    stages: [
      ...(isControlPlane ? ["control-plane" as const] : []),
      ...(isWorker ? ["runtime" as const] : []),
      "network",
    ],
    units: [
      ...(isControlPlane ? ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] : []),
      ...(isWorker ? ["plainkube-containerd", "plainkube-images", "kubelet"] : []),
      "kube-proxy",
      isFlannel ? "flanneld" : "plainkube-routes",
    ].map((unit) => `${unit}.service`),
    ports: [...(isControlPlane ? controlPlanePorts : []), ...(isWorker ? workerPorts : []), ...networkPorts],
    udpPorts: isFlannel ? [network.flannel.port] : [],
    needMib: (isControlPlane ? 500 : 0) + (isWorker ? 500 : 0) + 200,
  };
}
