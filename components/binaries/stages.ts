import type { Layout } from "../paths.ts";
import type { Choices } from "../spec.ts";
import type { System } from "../system.ts";

/** What is sent together, in the order in which it is sent. */
export type Stage = "control-plane" | "runtime" | "network";

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
    "control-plane": ["etcd", "kube-apiserver", ...controllers],
    runtime,
    network: ["kube-proxy", "kubectl"],
  },
  minimal: {
    "control-plane": ["etcd", "kube-apiserver", ...controllers],
    runtime: runtime.filter((name) => name !== "portmap" && name !== "coredns.tar"),
    network: ["kube-proxy"],
  },
  "api-only": { "control-plane": ["etcd", "kube-apiserver"], runtime: [], network: [] },
};

/** Binaries and images by what needs them, as the configuration chooses them. */
export function stagesOf({ system, network }: Pick<Choices, "system" | "network">) {
  const stage = stages[system];
  return network.podNetwork === "flannel" ? { ...stage, network: [...stage.network, "flanneld"] } : stage;
}

const cniPlugins: readonly string[] = ["bridge", "host-local", "loopback", "portmap"];

/** The name by which a host finds a binary or image. */
export function linkOf(name: string, { cniBin, images, bin }: Layout): string {
  if (cniPlugins.includes(name)) return `${cniBin}/${name}`;
  return name.endsWith(".tar") ? `${images}/${name}` : `${bin}/${name}`;
}
