import { flannelUser } from "../network/flannel.ts";
import type { ClusterSpec, HostSpec, UserSpec } from "../spec.ts";
import { type Part, parts } from "../system.ts";

export type Authority = "kubernetes" | "etcd" | "front-proxy";

/** What a certificate says; its key and its validity are decided elsewhere. */
export interface CertificatePlan {
  readonly authority: Authority;
  readonly commonName: string;
  readonly organization?: string;
  /** Organizations where there may be several. */
  readonly organizations?: readonly string[];
  readonly uses: readonly ("server_auth" | "client_auth")[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

/** Whether a name of a certificate is an IP address. */
export const isAddress = (name: string): boolean => /^[0-9.]+$/.test(name);

/** Certificate → the part of a system that it is for; the others are in every system. */
const neededBy: Readonly<Record<string, Part>> = {
  "apiserver-kubelet-client": "nodes",
  "controller-manager": "controllers",
  scheduler: "controllers",
  proxy: "nodes",
};

/** Whether a system has a use for a certificate of the cluster. */
export function isNeeded({ system }: ClusterSpec, certificate: string): boolean {
  const part = neededBy[certificate];
  return part === undefined || parts[system].has(part);
}

/** Certificates of the whole cluster, by name: right SANs and usages and no more. */
export function clusterCertificates(spec: ClusterSpec) {
  const { controlPlane: cp, network } = spec;
  const extra = spec.certificates.extraApiSans;
  const client = (authority: Authority, commonName: string, organization?: string): CertificatePlan => ({
    authority,
    commonName,
    ...(organization && { organization }),
    uses: ["client_auth"],
  });
  return {
    "etcd-server": {
      authority: "etcd",
      commonName: cp.name,
      uses: ["server_auth"],
      dnsNames: [cp.name, "localhost"],
      ipAddresses: ["127.0.0.1", cp.address],
    },
    "etcd-peer": {
      authority: "etcd",
      commonName: cp.name,
      uses: ["server_auth", "client_auth"],
      dnsNames: [cp.name],
      ipAddresses: [cp.address],
    },
    "apiserver-etcd-client": client("etcd", "kube-apiserver-etcd-client"),
    apiserver: {
      authority: "kubernetes",
      commonName: "kube-apiserver",
      uses: ["server_auth"],
      dnsNames: [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        `kubernetes.default.svc.${network.dnsDomain}`,
        cp.name,
        "localhost",
        ...extra.filter((n) => !isAddress(n)),
      ],
      ipAddresses: ["127.0.0.1", cp.address, spec.apiServiceAddress, ...extra.filter(isAddress)],
    },
    "apiserver-kubelet-client": client("kubernetes", "kube-apiserver-kubelet-client"),
    "front-proxy-client": client("front-proxy", "front-proxy-client"),
    admin: client("kubernetes", "kubernetes-admin", "system:masters"),
    "controller-manager": client("kubernetes", "system:kube-controller-manager"),
    scheduler: client("kubernetes", "system:kube-scheduler"),
    proxy: client("kubernetes", "system:kube-proxy"),
  } as const satisfies Record<string, CertificatePlan>;
}

/** The client certificate of a user. */
export const userCertificate = ({ name, groups }: UserSpec): CertificatePlan => ({
  authority: "kubernetes",
  commonName: name,
  organizations: groups,
  uses: ["client_auth"],
});

/** Certificates that add-ons serve with inside the cluster, by the Service's name, and clients of optional parts. */
export function optionalCertificates({ addons, kubelet, network }: ClusterSpec) {
  return {
    ...(addons.metricsServer && { "metrics-server": serviceCertificate("metrics-server", "kube-system") }),
    ...(kubelet.certificates === "bootstrapped" && {
      "kubelet-serving-approver": {
        authority: "kubernetes",
        commonName: "plainkube:kubelet-serving-approver",
        uses: ["client_auth"],
      },
    }),
    ...(network.podNetwork === "flannel" && {
      flannel: { authority: "kubernetes", commonName: flannelUser, uses: ["client_auth"] },
    }),
  } as const satisfies Record<string, CertificatePlan>;
}

const serviceCertificate = (service: string, namespace: string) =>
  ({
    authority: "kubernetes",
    commonName: service,
    uses: ["server_auth"],
    dnsNames: [`${service}.${namespace}.svc`],
  }) as const satisfies CertificatePlan;

/** Certificates of one worker. */
export function workerCertificates({ name, address }: HostSpec) {
  return {
    client: {
      authority: "kubernetes",
      commonName: `system:node:${name}`,
      organization: "system:nodes",
      uses: ["client_auth"],
    },
    serving: {
      authority: "kubernetes",
      commonName: `system:node:${name}`,
      organization: "system:nodes",
      uses: ["server_auth"],
      dnsNames: [name],
      ipAddresses: [address],
    },
  } as const satisfies Record<string, CertificatePlan>;
}
