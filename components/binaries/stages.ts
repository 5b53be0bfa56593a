import { hasLocalPath } from "../addons/storage/provisioner.ts";
import { paths } from "../paths.ts";
import type { Choices } from "../spec.ts";

/** What is sent together, in the order in which it is sent. */
export type Stage = "control-plane" | "runtime" | "network";

/** Binaries and images by what needs them, as the configuration chooses them. */
export const stagesOf = ({ addons, kubelet }: Choices): Readonly<Record<Stage, readonly string[]>> => ({
  "control-plane": [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    ...(kubelet.certificates === "bootstrapped" ? ["kubelet-serving-approver"] : []),
  ],
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
    ...(addons.metricsServer ? ["metrics-server.tar"] : []),
    ...(hasLocalPath(addons) ? ["local-path-provisioner.tar", "volume-helper.tar"] : []),
    "kubelet",
  ],
  network: ["kube-proxy", "kubectl"],
});

const cniPlugins: readonly string[] = ["bridge", "host-local", "loopback", "portmap"];

/** The name by which a host finds a binary or image. */
export function linkOf(name: string): string {
  if (cniPlugins.includes(name)) return `${paths.cniBin}/${name}`;
  return name.endsWith(".tar") ? `${paths.images}/${name}` : `${paths.bin}/${name}`;
}
