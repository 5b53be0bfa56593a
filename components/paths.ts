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
  podLogs: "/var/log/pods",
  containerLogs: "/var/log/containers",

  /** Gone after a reboot. */
  run: "/run/plainkube",
  containerdRun: "/run/plainkube/containerd",
  containerdSocket: "/run/plainkube/containerd/containerd.sock",
} as const;

/** The path of a binary by its name. */
export const binary = (name: string): string => `${paths.bin}/${name}`;
