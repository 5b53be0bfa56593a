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
  readonly flannel: string;
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

/** What every Kubernetes version here runs with: containerd 2 speaks the CRI v1 of kubelet 1.26 and newer. */
const common = {
  containerd: "2.3.4",
  runc: "1.4.3",
  cni: "1.9.1",
  coredns: "1.14.7",
  flannel: "0.27.4",
  pause: "1.0.0",
  workload: "1.0.0",
  "volume-helper": "1.0.0",
  "kubelet-serving-approver": "1.0.0",
  "metrics-server": "0.9.0",
  "local-path-provisioner": "0.0.30",
} as const;

/** Programs for hosts that are always built from their modules, whatever `binaries.source` is. */
export const ownPrograms = ["kubelet-serving-approver"] as const satisfies readonly (keyof VersionSet)[];

/** Newest first. The etcd is of the minor that kubeadm of that Kubernetes version brings (cmd/kubeadm/app/constants). */
const sets: readonly VersionSet[] = [
  { kubernetes: "1.36.3", etcd: "3.6.8", ...common },
  { kubernetes: "1.35.4", etcd: "3.6.8", ...common },
  { kubernetes: "1.34.10", etcd: "3.6.8", ...common },
  { kubernetes: "1.27.2", etcd: "3.5.7", ...common },
  { kubernetes: "1.26.3", etcd: "3.5.7", ...common },
];

/** Kubernetes version → what goes with it. */
export const supportedVersions: Readonly<Record<string, VersionSet>> = Object.fromEntries(
  sets.map((set) => [set.kubernetes, set]),
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
export type Component = "kubernetes-server" | "etcd" | "containerd" | "runc" | "cni-plugins" | "coredns" | "flanneld";

/** Component → its key in a VersionSet. */
export const versionKey = {
  "kubernetes-server": "kubernetes",
  etcd: "etcd",
  containerd: "containerd",
  runc: "runc",
  "cni-plugins": "cni",
  coredns: "coredns",
  flanneld: "flannel",
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
  flanneld: { flanneld: "" },
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
    case "flanneld":
      return github("flannel-io/flannel", `flanneld-${arch}`);
    case "coredns":
      return github("coredns/coredns", `coredns_${v}_linux_${arch}.tgz`);
  }
}

const kubernetesChangelog = (minor: string) =>
  `kubernetes/kubernetes, CHANGELOG/CHANGELOG-${minor}.md at tag v1.38.0-alpha.0 (in the Go module k8s.io/kubernetes)`;
const kubespray =
  "third party: kubernetes-sigs/kubespray, roles/kubespray_defaults/vars/main/checksums.yml at commit 46dbdd3994b3";
const kubernetesFormula = "third party: sysoperator/kubernetes-formula, pillar/flannel.sls";

/** `<component> <version> <arch>` → its published checksum. */
const checksums: Readonly<Record<string, PublishedChecksum>> = {
  "kubernetes-server 1.36.3 amd64": {
    algorithm: "sha512",
    digest:
      "b0fc15554233d9dcf7284bca259bc238aa89003dc2d821f7074f385f3825dead854ae175482ccb5632a0930ffc1d3c0eff1cda2ada972fba9a5d46033a8b1e52",
    readFrom: kubernetesChangelog("1.36"),
  },
  "kubernetes-server 1.36.3 arm64": {
    algorithm: "sha512",
    digest:
      "65c78d6893d683fc5e7f232f8638243886c8b1b7dbe055746ae7d38fdf8016456b1710ce4fc1133127880a65aed9492f737995694462baad13495a7f3d9ef0c5",
    readFrom: kubernetesChangelog("1.36"),
  },
  "kubernetes-server 1.35.4 amd64": {
    algorithm: "sha512",
    digest:
      "7454c2d9023de3230972e965e1e2a587a291e2a1abee703bb0737057e1646b23ebac538b93dd778e93579e3c293dc1fa8d002e6848ad5ebc01598bc47358fe44",
    readFrom: kubernetesChangelog("1.35"),
  },
  "kubernetes-server 1.35.4 arm64": {
    algorithm: "sha512",
    digest:
      "67187a2fe780be7816f9d10e082ed02cbba306bab379980280d00ba4c4017ff53c50cd2ff81d248c91ddcc064276b8760e17c73a1a7da1d35067a6fc0ffbdc88",
    readFrom: kubernetesChangelog("1.35"),
  },
  "kubernetes-server 1.34.10 amd64": {
    algorithm: "sha512",
    digest:
      "a679e87eb65d608456ea712c3475887fdc57da4ea8f74b3310953def57555a306c5167e84792cde8de59f9568c3f4b2fd989ea59fe73d49b9a69bdfd46f15530",
    readFrom: kubernetesChangelog("1.34"),
  },
  "kubernetes-server 1.34.10 arm64": {
    algorithm: "sha512",
    digest:
      "f794f4785c439c975f78a239068b552ee244e154dcbc16c02c214721a92e9c9271c00eea87a9dfe3e16473110dca4277cd75459dc281aa04772071b450a443a2",
    readFrom: kubernetesChangelog("1.34"),
  },
  "kubernetes-server 1.27.2 amd64": {
    algorithm: "sha512",
    digest:
      "53f1533aa8f493ebbdfb07ba59eaf971cf865c60d1ac9a5ad9f61e6d5f670e9d86e0dc70c6d3057953da2968d100de8d8bf50d5863ad2decb69c397aa6f185b9",
    readFrom: kubernetesChangelog("1.27"),
  },
  "kubernetes-server 1.27.2 arm64": {
    algorithm: "sha512",
    digest:
      "66466de2b1b5ad7ce09fba95da00d3451ae13b28b89755a64cc4e18e1254c5dfed290df5f8509f312396679bcc90eec98eb84e333ea9bd206ecb8bf00eeeba71",
    readFrom: kubernetesChangelog("1.27"),
  },
  "kubernetes-server 1.26.3 amd64": {
    algorithm: "sha512",
    digest:
      "27d88683b737d5790c68a5ae4b5011f3afead81f4f83ecd26232458f9b15d3581705758f068d8f94681afddda0f2494f815ba758167d064c8d682766479a1023",
    readFrom: kubernetesChangelog("1.26"),
  },
  "kubernetes-server 1.26.3 arm64": {
    algorithm: "sha512",
    digest:
      "ea74da4e70dd0a3fe79a2da0a8421efc6c45c019af44d7fc04d35dcd154c1c09a487d300155cdf0e7c664512e5f84969dd668d82b5e2fcff1e4768351638793c",
    readFrom: kubernetesChangelog("1.26"),
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
  "etcd 3.5.7 amd64": {
    algorithm: "sha256",
    digest: "a43119af79c592a874e8f59c4f23832297849d0c479338f9df36e196b86bc396",
    readFrom: kubespray,
  },
  "etcd 3.5.7 arm64": {
    algorithm: "sha256",
    digest: "1a35314900da7db006b198dd917e923459b462128101736c63a3cda57ecdbf51",
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
  "flanneld 0.27.4 amd64": {
    algorithm: "sha256",
    digest: "fc1233aac3ad2707d14c9ae42016b5402753f755f0d07cc5c41dc4190e95d299",
    readFrom: kubernetesFormula,
  },
  "flanneld 0.27.4 arm64": {
    algorithm: "sha256",
    digest: "aa4f59bff09603ad10634c5a930afa57631dd99d8da0b7baeaadc655f00831b7",
    readFrom: kubernetesFormula,
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
