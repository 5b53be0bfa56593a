import { paths } from "../paths.ts";
import type { Choices } from "../spec.ts";
import { parts } from "../system.ts";

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

/** Binaries and images by what needs them, as the configuration chooses them. */
export function stagesOf({ system }: Pick<Choices, "system">): Readonly<Record<Stage, readonly string[]>> {
  const has = parts[system];
  return {
    "control-plane": ["etcd", "kube-apiserver", ...(has.has("controllers") ? controllers : [])],
    runtime: has.has("nodes") ? runtime : [],
    network: has.has("nodes") ? ["kube-proxy", "kubectl"] : [],
  };
}

const cniPlugins: readonly string[] = ["bridge", "host-local", "loopback", "portmap"];

/** The name by which a host finds a binary or image. */
export function linkOf(name: string): string {
  if (cniPlugins.includes(name)) return `${paths.cniBin}/${name}`;
  return name.endsWith(".tar") ? `${paths.images}/${name}` : `${paths.bin}/${name}`;
}
