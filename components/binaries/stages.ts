import { paths } from "../paths.ts";
import type { Choices } from "../spec.ts";

/** What is sent together, in the order in which it is sent. */
export type Stage = "control-plane" | "runtime" | "network";

/** Binaries and images by what needs them, as the configuration chooses them. */
export const stagesOf = ({ network }: Choices): Readonly<Record<Stage, readonly string[]>> => ({
  "control-plane": ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"],
  runtime: [
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
  ],
  network: ["kube-proxy", "kubectl", ...(network.podNetwork === "flannel" ? ["flanneld"] : [])],
});

const cniPlugins: readonly string[] = ["bridge", "host-local", "loopback", "portmap"];

/** The name by which a host finds a binary or image. */
export function linkOf(name: string): string {
  if (cniPlugins.includes(name)) return `${paths.cniBin}/${name}`;
  return name.endsWith(".tar") ? `${paths.images}/${name}` : `${paths.bin}/${name}`;
}
