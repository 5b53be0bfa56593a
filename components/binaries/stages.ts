import { hasLocalPath } from "../addons/storage/provisioner.ts";
import type { Layout } from "../paths.ts";
import type { Choices } from "../spec.ts";
import type { System } from "../system.ts";

/** Binaries by what starts them. */
export type Stage = "control-plane" | "runtime" | "controllers" | "kubelet" | "network";

/**
 * What is sent in one session, one after the other: etcd and the API server start, and images are imported, while the rest is
 * on its way.
 */
export const uploads = {
  "control-plane": ["control-plane"],
  runtime: ["runtime"],
  rest: ["controllers", "kubelet", "network"],
} as const satisfies Record<string, readonly Stage[]>;

const controllers = ["kube-controller-manager", "kube-scheduler"];
const runtime = [
  "containerd",
  "containerd-shim-runc-v2",
  "ctr",
  "runc",
  "bridge",
  "host-local",
  "loopback",
  "portmap",
  "pause.tar",
  "coredns.tar",
  "workload.tar",
];
const kubelet = ["kubelet"];

const stages: Readonly<Record<System, Readonly<Record<Stage, readonly string[]>>>> = {
  cluster: {
    "control-plane": ["etcd", "kube-apiserver"],
    runtime,
    controllers,
    kubelet,
    network: ["kube-proxy", "kubectl"],
  },
  minimal: {
    "control-plane": ["etcd", "kube-apiserver"],
    runtime: runtime.filter((name) => name !== "portmap" && name !== "coredns.tar"),
    controllers,
    kubelet,
    network: ["kube-proxy"],
  },
  "api-only": { "control-plane": ["etcd", "kube-apiserver"], runtime: [], controllers: [], kubelet: [], network: [] },
};

/** Binaries and images by what needs them, as the configuration chooses them. */
export function stagesOf({
  system,
  network,
  addons,
  kubelet: { certificates },
}: Choices): Readonly<Record<Stage, readonly string[]>> {
  const stage = stages[system];
  const images = [
    ...(addons.metricsServer ? ["metrics-server.tar"] : []),
    ...(hasLocalPath(addons) ? ["local-path-provisioner.tar", "volume-helper.tar"] : []),
  ];
  return {
    "control-plane": stage["control-plane"],
    controllers: [...stage.controllers, ...(certificates === "bootstrapped" ? ["kubelet-serving-approver"] : [])],
    runtime: [...stage.runtime, ...images],
    kubelet: stage.kubelet,
    network: [...stage.network, ...(network.podNetwork === "flannel" ? ["flanneld"] : [])],
  };
}

const cniPlugins: readonly string[] = ["bridge", "host-local", "loopback", "portmap"];

/** The name by which a host finds a binary or image. */
export function linkOf(name: string, { cniBin, images, bin }: Layout): string {
  if (cniPlugins.includes(name)) return `${cniBin}/${name}`;
  return name.endsWith(".tar") ? `${images}/${name}` : `${bin}/${name}`;
}
