import { paths } from "../paths.ts";

/** Binaries and images by what needs them, in the order in which they are sent. */
export const stages = {
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
  network: ["kube-proxy", "kubectl"],
} as const;

export type Stage = keyof typeof stages;

const cniPlugins: readonly string[] = ["bridge", "host-local", "loopback", "portmap"];

/** The name by which a host finds a binary or image. */
export function linkOf(name: string): string {
  if (cniPlugins.includes(name)) return `${paths.cniBin}/${name}`;
  return name.endsWith(".tar") ? `${paths.images}/${name}` : `${paths.bin}/${name}`;
}
