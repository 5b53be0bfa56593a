import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import type { ClusterSpec } from "../spec.ts";
import {
  type Authority,
  type CertificatePlan,
  clusterCertificates,
  optionalCertificates,
  workerCertificates,
} from "./plan.ts";

/** A certificate and its key as PEM; the key is secret. */
export interface KeyPair {
  readonly cert: pulumi.Output<string>;
  readonly key: pulumi.Output<string>;
}

const keyType = { algorithm: "ECDSA", ecdsaCurve: "P256" } as const;

/** A self-signed authority. */
class CertificateAuthority extends pulumi.ComponentResource implements KeyPair {
  readonly cert: pulumi.Output<string>;
  readonly key: pulumi.Output<string>;

  constructor(name: string, args: { spec: ClusterSpec; commonName: string }, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:pki:CertificateAuthority", name, {}, opts);
    const key = new tls.PrivateKey(`${name}-key`, keyType, { parent: this });
    const cert = new tls.SelfSignedCert(
      `${name}-cert`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: args.commonName },
        isCaCertificate: true,
        setSubjectKeyId: true,
        allowedUses: ["cert_signing", "crl_signing", "digital_signature"],
        validityPeriodHours: args.spec.certificates.caValidityHours,
      },
      { parent: this },
    );
    this.cert = cert.certPem;
    this.key = key.privateKeyPem;
    this.registerOutputs({});
  }
}

/** A certificate signed by one of the authorities; renewed by the first `up` within `earlyRenewalHours` of its end. */
class Certificate extends pulumi.ComponentResource implements KeyPair {
  readonly cert: pulumi.Output<string>;
  readonly key: pulumi.Output<string>;
  /** RFC 3339 time after which it is no longer valid. */
  readonly validityEnd: pulumi.Output<string>;

  constructor(
    name: string,
    args: { spec: ClusterSpec; plan: CertificatePlan; authority: CertificateAuthority },
    opts?: pulumi.ComponentResourceOptions,
  ) {
    super("plainkube:pki:Certificate", name, {}, opts);
    const { plan, spec, authority } = args;
    const key = new tls.PrivateKey(`${name}-key`, keyType, { parent: this });
    const request = new tls.CertRequest(
      `${name}-request`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: plan.commonName, ...(plan.organization && { organization: plan.organization }) },
        ...(plan.dnsNames && { dnsNames: [...plan.dnsNames] }),
        ...(plan.ipAddresses && { ipAddresses: [...plan.ipAddresses] }),
      },
      { parent: this },
    );
    const cert = new tls.LocallySignedCert(
      `${name}-cert`,
      {
        certRequestPem: request.certRequestPem,
        caCertPem: authority.cert,
        caPrivateKeyPem: authority.key,
        allowedUses: ["digital_signature", ...plan.uses],
        validityPeriodHours: spec.certificates.validityHours,
        earlyRenewalHours: spec.certificates.earlyRenewalHours,
        setSubjectKeyId: true,
      },
      { parent: this },
    );
    this.cert = cert.certPem;
    this.key = key.privateKeyPem;
    this.validityEnd = cert.validityEndTime;
    this.registerOutputs({});
  }
}

export type ClusterCertificateName = keyof ReturnType<typeof clusterCertificates>;

export type OptionalCertificateName = keyof ReturnType<typeof optionalCertificates>;

export interface NodeCertificates {
  readonly client: Certificate;
  /** None where the kubelet asks the cluster for it. */
  readonly serving?: Certificate;
}

/** Every key and certificate of the cluster: three authorities, what they sign, and the service-account key pair. */
export class Pki extends pulumi.ComponentResource {
  readonly authorities: Readonly<Record<Authority, KeyPair>>;
  readonly serviceAccount: { readonly publicKey: pulumi.Output<string>; readonly key: pulumi.Output<string> };
  readonly cluster: Readonly<Record<ClusterCertificateName, Certificate>>;
  readonly #optional: ReadonlyMap<string, Certificate>;
  readonly #nodes: ReadonlyMap<string, NodeCertificates>;

  constructor(name: string, args: { spec: ClusterSpec }, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:pki:Pki", name, {}, opts);
    const { spec } = args;
    const authority = (id: Authority, commonName: string) =>
      new CertificateAuthority(`${name}-${id}-ca`, { spec, commonName }, { parent: this });
    const authorities = {
      kubernetes: authority("kubernetes", "kubernetes-ca"),
      etcd: authority("etcd", "etcd-ca"),
      "front-proxy": authority("front-proxy", "front-proxy-ca"),
    };
    this.authorities = authorities;
    const serviceAccount = new tls.PrivateKey(
      `${name}-service-account-key`,
      { algorithm: "RSA", rsaBits: 2048 },
      { parent: this },
    );
    this.serviceAccount = { publicKey: serviceAccount.publicKeyPem, key: serviceAccount.privateKeyPem };

    const certificate = (id: string, plan: CertificatePlan) =>
      new Certificate(`${name}-${id}`, { spec, plan, authority: authorities[plan.authority] }, { parent: this });
    this.cluster = Object.fromEntries(
      Object.entries(clusterCertificates(spec)).map(([id, plan]) => [id, certificate(id, plan)]),
    ) as Record<ClusterCertificateName, Certificate>;
    this.#optional = new Map(
      Object.entries(optionalCertificates(spec)).map(([id, plan]) => [id, certificate(id, plan)]),
    );
    this.#nodes = new Map(
      spec.workers.map((host) => {
        const { client, serving } = workerCertificates(host);
        const id = `node-${host.name}`;
        return [
          host.name,
          {
            client: certificate(`${id}-client`, client),
            ...(spec.kubelet.certificates === "issued" && { serving: certificate(`${id}-serving`, serving) }),
          },
        ];
      }),
    );
    this.registerOutputs({});
  }

  /** A certificate that there is only where the configuration asks for what uses it. */
  optional(name: OptionalCertificateName): KeyPair {
    const found = this.#optional.get(name);
    if (!found) throw new Error(`there is no certificate ${name}: the configuration does not ask for what uses it`);
    return found;
  }

  /** The certificates of a worker. */
  node(name: string): NodeCertificates {
    const found = this.#nodes.get(name);
    if (!found) throw new Error(`host ${name} has no certificates: it is no worker`);
    return found;
  }

  /** The first moment at which a certificate of the cluster ends, as RFC 3339. */
  get firstExpiry(): pulumi.Output<string> {
    const all = [
      ...Object.values(this.cluster),
      ...this.#optional.values(),
      ...[...this.#nodes.values()].flatMap((n) => [n.client, n.serving ?? []].flat()),
    ];
    return pulumi.all(all.map((c) => c.validityEnd)).apply((ends) => ends.sort()[0] ?? "");
  }
}
