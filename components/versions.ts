import type { Arch, PublishedChecksum, ReleaseArtifact } from "../toolchain/releases.ts";

export type { Arch } from "../toolchain/releases.ts";

/** Versions that go together: one set a Kubernetes version, without a leading v. */
export interface VersionSet {
  readonly kubernetes: string;
  readonly etcd: string;
  readonly containerd: string;
  readonly runc: string;
  readonly cni: string;
  readonly coredns: string;
  /** The project's own images. */
  readonly pause: string;
  readonly workload: string;
  readonly "volume-helper": string;
  /** The project's own program that approves kubelets' serving certificates. */
  readonly "kubelet-serving-approver": string;
  /** Images that are always built from their modules. */
  readonly "metrics-server": string;
  readonly "local-path-provisioner": string;
}

/** What is the same beside every Kubernetes version. */
const addons = {
  "volume-helper": "1.0.0",
  "kubelet-serving-approver": "1.0.0",
  "metrics-server": "0.9.0",
  "local-path-provisioner": "0.0.30",
} as const satisfies Partial<VersionSet>;

/** Programs for hosts that are always built from their modules, whatever `binaries.source` is. */
export const ownPrograms = ["kubelet-serving-approver"] as const satisfies readonly (keyof VersionSet)[];

const sets: readonly Omit<VersionSet, keyof typeof addons>[] = [
  {
    kubernetes: "1.36.3",
    etcd: "3.6.8",
    containerd: "2.3.4",
    runc: "1.4.3",
    cni: "1.9.1",
    coredns: "1.14.7",
    pause: "1.0.0",
    workload: "1.0.0",
  },
];

/** Kubernetes version → what goes with it. */
export const supportedVersions: Readonly<Record<string, VersionSet>> = Object.fromEntries(
  sets.map((set) => [set.kubernetes, { ...set, ...addons }]),
);

/** What to tell someone who asks for a Kubernetes version that is not in `supportedVersions`. */
export function unsupportedVersion(version: string): { what: string; got: string; expected: string; remedy: string } {
  return {
    what: "plainkube:versions.kubernetes is not supported",
    got: version,
    expected: `one of ${Object.keys(supportedVersions).join(", ")}`,
    remedy: "set one of these, or add a set with its checksums to components/versions.ts",
  };
}

/** Names a component as its release, its recipe and its pinned checksums do. */
export type Component = "kubernetes-server" | "etcd" | "containerd" | "runc" | "cni-plugins" | "coredns";

/** Component → its key in a VersionSet. */
export const versionKey = {
  "kubernetes-server": "kubernetes",
  etcd: "etcd",
  containerd: "containerd",
  runc: "runc",
  "cni-plugins": "cni",
  coredns: "coredns",
} as const satisfies Record<Component, keyof VersionSet>;

/** Binary → path inside its component's archive (`{dir}`: the archive's own top folder), or "" for a single file. */
const members: Readonly<Record<Component, Readonly<Record<string, string>>>> = {
  "kubernetes-server": {
    "kube-apiserver": "kubernetes/server/bin/kube-apiserver",
    "kube-controller-manager": "kubernetes/server/bin/kube-controller-manager",
    "kube-scheduler": "kubernetes/server/bin/kube-scheduler",
    kubectl: "kubernetes/server/bin/kubectl",
    kubelet: "kubernetes/server/bin/kubelet",
    "kube-proxy": "kubernetes/server/bin/kube-proxy",
    kubeadm: "kubernetes/server/bin/kubeadm",
  },
  etcd: { etcd: "{dir}/etcd", etcdctl: "{dir}/etcdctl", etcdutl: "{dir}/etcdutl" },
  containerd: {
    containerd: "bin/containerd",
    "containerd-shim-runc-v2": "bin/containerd-shim-runc-v2",
    ctr: "bin/ctr",
  },
  runc: { runc: "" },
  "cni-plugins": { bridge: "bridge", "host-local": "host-local", loopback: "loopback", portmap: "portmap" },
  coredns: { coredns: "coredns" },
};

const components = Object.keys(members) as Component[];

/** Whether a version is of this minor release (`1.31`) or a newer one. */
export function atLeast(version: string, minor: string): boolean {
  const [major = 0, wanted = 0] = minor.split(".").map(Number);
  const [gotMajor = 0, got = 0] = version.split(".").map(Number);
  return gotMajor > major || (gotMajor === major && got >= wanted);
}

/** The component that a binary belongs to. Throws on an unknown name. */
export function componentOf(binary: string): Component {
  const found = components.find((component) => binary in members[component]);
  if (found) return found;
  const known = components.flatMap((component) => Object.keys(members[component])).join(", ");
  throw new Error(`binary: got ${binary}, expected one of ${known}; add it to components/versions.ts`);
}

/** The address of the official download. */
function officialUrl(component: Component, v: string, arch: Arch): string {
  const github = (repository: string, file: string) =>
    `https://github.com/${repository}/releases/download/v${v}/${file}`;
  switch (component) {
    case "kubernetes-server":
      return `https://dl.k8s.io/v${v}/kubernetes-server-linux-${arch}.tar.gz`;
    case "etcd":
      return github("etcd-io/etcd", `etcd-v${v}-linux-${arch}.tar.gz`);
    case "containerd":
      return github("containerd/containerd", `containerd-${v}-linux-${arch}.tar.gz`);
    case "runc":
      return github("opencontainers/runc", `runc.${arch}`);
    case "cni-plugins":
      return github("containernetworking/plugins", `cni-plugins-linux-${arch}-v${v}.tgz`);
    case "coredns":
      return github("coredns/coredns", `coredns_${v}_linux_${arch}.tgz`);
  }
}

const kubernetesChangelog =
  "kubernetes/kubernetes, CHANGELOG/CHANGELOG-1.36.md at tag v1.38.0-alpha.0 (in the Go module k8s.io/kubernetes)";
const kubespray =
  "third party: kubernetes-sigs/kubespray, roles/kubespray_defaults/vars/main/checksums.yml at commit 46dbdd3994b3";

/** `<component> <version> <arch>` → its published checksum. */
const checksums: Readonly<Record<string, PublishedChecksum>> = {
  "kubernetes-server 1.36.3 amd64": {
    algorithm: "sha512",
    digest:
      "b0fc15554233d9dcf7284bca259bc238aa89003dc2d821f7074f385f3825dead854ae175482ccb5632a0930ffc1d3c0eff1cda2ada972fba9a5d46033a8b1e52",
    readFrom: kubernetesChangelog,
  },
  "kubernetes-server 1.36.3 arm64": {
    algorithm: "sha512",
    digest:
      "65c78d6893d683fc5e7f232f8638243886c8b1b7dbe055746ae7d38fdf8016456b1710ce4fc1133127880a65aed9492f737995694462baad13495a7f3d9ef0c5",
    readFrom: kubernetesChangelog,
  },
  "etcd 3.6.8 amd64": {
    algorithm: "sha256",
    digest: "cf9cfe91a4856cb90eed9c99e6aee4b708db2c7888b88a6f116281f04b0ea693",
    readFrom: kubespray,
  },
  "etcd 3.6.8 arm64": {
    algorithm: "sha256",
    digest: "438f56a700d17ce761510a3e63e6fa5c1d587b2dd4d7a22c179c09a649366760",
    readFrom: kubespray,
  },
  "containerd 2.3.4 amd64": {
    algorithm: "sha256",
    digest: "9d68969855fbf676cdb8ed758e420fb048d61f984f61de3e53eddfebe484d168",
    readFrom: kubespray,
  },
  "containerd 2.3.4 arm64": {
    algorithm: "sha256",
    digest: "a985fbb7e18fc0362d31a055338f5d7b0e087a3e27f14c70d1c5965399a29f95",
    readFrom: kubespray,
  },
  "runc 1.4.3 amd64": {
    algorithm: "sha256",
    digest: "f6ae8efc0fa40079e1475e97cbe9d1bd3f106a28d6af78a11d9f1bd565515e60",
    readFrom: kubespray,
  },
  "runc 1.4.3 arm64": {
    algorithm: "sha256",
    digest: "633301e2e32f8a5ad54031aab4901eb00308bec677dd15faa2751e8f9dab5ca4",
    readFrom: kubespray,
  },
  "cni-plugins 1.9.1 amd64": {
    algorithm: "sha256",
    digest: "b98f74a0f8522f0a83867178729c1aa70f2158f90c45a2ca8fa791db1c76b303",
    readFrom: kubespray,
  },
  "cni-plugins 1.9.1 arm64": {
    algorithm: "sha256",
    digest: "56171987d3947707c3563db2f4001bccaf50fd63468611b9f3cbecb1375ee7ec",
    readFrom: kubespray,
  },
  // arm64 is not known: refused until binaries.checksums pins it.
  "coredns 1.14.7 amd64": {
    algorithm: "sha256",
    digest: "9a09356438c6d9591cb80011a2a7a52f87fc3a113f6690e41f243f98b98faac9",
    readFrom: 'third party: the public document "CoreDNS 1.14.7 image evidence", one occurrence',
  },
};

/** The official download of a component: address, checksum if one is known, and where each binary lies in it. */
export function releaseOf(component: Component, version: string, arch: Arch): ReleaseArtifact {
  const url = officialUrl(component, version, arch);
  const top = (url.split("/").at(-1) ?? "").replace(/\.(tar\.gz|tgz)$/, "");
  const paths = Object.entries(members[component]).map(([name, path]) => [name, path.replace("{dir}", top)] as const);
  const checksum = checksums[`${component} ${version} ${arch}`];
  return {
    name: component,
    version,
    arch,
    url,
    ...(checksum ? { checksum } : {}),
    ...(paths.every(([, path]) => path !== "") ? { members: Object.fromEntries(paths) } : {}),
  };
}
