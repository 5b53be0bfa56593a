import type { Choices } from "./spec.ts";

/** Every path that plainkube uses on a host, once. Reset removes exactly these, and `kubelet` and `etcd` data. */
export const paths = {
  /** Binaries by content, and the names that link to them. */
  opt: "/opt/plainkube",
  store: "/opt/plainkube/store",
  bin: "/opt/plainkube/bin",
  images: "/opt/plainkube/images",
  cniBin: "/opt/plainkube/cni",
  scripts: "/opt/plainkube/scripts",

  /** Configuration. */
  etc: "/etc/plainkube",
  pki: "/etc/plainkube/pki",
  kubeconfig: "/etc/plainkube/kubeconfig",
  cniConf: "/etc/plainkube/cni/net.d",
  units: "/etc/systemd/system",

  /** State. */
  lib: "/var/lib/plainkube",
  containerd: "/var/lib/plainkube/containerd",
  etcd: "/var/lib/plainkube/etcd",
  kubelet: "/var/lib/kubelet",
  volumes: "/var/lib/plainkube/volumes",
  cniCache: "/var/lib/plainkube/cni",
  log: "/var/log/plainkube",
  podLogs: "/var/log/pods",
  containerLogs: "/var/log/containers",

  /** Gone after a reboot. */
  run: "/run/plainkube",
  containerdRun: "/run/plainkube/containerd",
  containerdSocket: "/run/plainkube/containerd/containerd.sock",
} as const;

/** Where a system has what is sent to a host and what a reset has to know. */
export interface Layout {
  readonly opt: string;
  readonly store: string;
  readonly bin: string;
  readonly cniBin: string;
  readonly images: string;
  /** Folder of containerd's socket and tasks. */
  readonly containerdRun: string;
  /** Folder of containerd's data. */
  readonly containerdRoot: string;
  /** Folders that are empty or not there before, and gone after. */
  readonly claimed: readonly string[];
}

/** The parts of `paths` that another system has elsewhere. */
export const clusterLayout: Layout = {
  opt: paths.opt,
  store: paths.store,
  bin: paths.bin,
  cniBin: paths.cniBin,
  images: paths.images,
  containerdRun: paths.containerdRun,
  containerdRoot: paths.containerd,
  claimed: [paths.opt],
};

/** One folder, as in the document that the system `minimal` follows; other folders are upstream's defaults, so that no setting says them. */
export const minimalLayout: Layout = {
  opt: "/opt/k8s",
  store: "/opt/k8s/store",
  bin: "/opt/k8s",
  cniBin: "/opt/k8s",
  images: "/opt/k8s",
  containerdRun: "/run/containerd",
  containerdRoot: "/var/lib/containerd",
  claimed: [
    "/opt/k8s",
    ...["/opt/containerd", "/run/containerd", "/run/nri", "/var/lib/containerd", "/var/lib/cni/networks/plainkube"],
    "/usr/libexec/kubernetes",
  ],
};

export const layoutOf = ({ system }: Pick<Choices, "system">): Layout =>
  system === "minimal" ? minimalLayout : clusterLayout;

/** The path of a binary by its name. */
export const binary = (name: string): string => `${paths.bin}/${name}`;
