import { hasLocalPath } from "../addons/storage/provisioner.ts";
import type { Layout } from "../paths.ts";
import type { Choices } from "../spec.ts";
import type { System } from "../system.ts";

/** Binaries by what starts them, in the order in which they are sent. */
export type Stage = "control-plane" | "controllers" | "runtime" | "network";

/** What is sent in one session: etcd and the API server first, so that they start while the rest is on its way. */
export const uploads = {
  "control-plane": ["control-plane"],
  rest: ["controllers", "runtime", "network"],
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
  "kubelet",
];

const stages: Readonly<Record<System, Readonly<Record<Stage, readonly string[]>>>> = {
  cluster: {
    "control-plane": ["etcd", "kube-apiserver"],
    controllers,
    runtime,
    network: ["kube-proxy", "kubectl"],
  },
  minimal: {
    "control-plane": ["etcd", "kube-apiserver"],
    controllers,
    runtime: runtime.filter((name) => name !== "portmap" && name !== "coredns.tar"),
    network: ["kube-proxy"],
  },
  "api-only": { "control-plane": ["etcd", "kube-apiserver"], controllers: [], runtime: [], network: [] },
};

/** Binaries and images by what needs them, as the configuration chooses them. */
export function stagesOf({ system, network, addons, kubelet }: Choices): Readonly<Record<Stage, readonly string[]>> {
  const stage = stages[system];
  const images = [
    ...(addons.metricsServer ? ["metrics-server.tar"] : []),
    ...(hasLocalPath(addons) ? ["local-path-provisioner.tar", "volume-helper.tar"] : []),
  ];
  return {
    "control-plane": stage["control-plane"],
    controllers: [
      ...stage.controllers,
      ...(kubelet.certificates === "bootstrapped" ? ["kubelet-serving-approver"] : []),
    ],
    // Before the kubelet.
    runtime: stage.runtime.flatMap((name) => (name === "workload.tar" ? [name, ...images] : [name])),
    network: [...stage.network, ...(network.podNetwork === "flannel" ? ["flanneld"] : [])],
  };
}

const cniPlugins: readonly string[] = ["bridge", "host-local", "loopback", "portmap"];

/** The name by which a host finds a binary or image. */
export function linkOf(name: string, { cniBin, images, bin }: Layout): string {
  if (cniPlugins.includes(name)) return `${cniBin}/${name}`;
  return name.endsWith(".tar") ? `${images}/${name}` : `${bin}/${name}`;
}
