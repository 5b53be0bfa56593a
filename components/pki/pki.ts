import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import * as tls from "@pulumi/tls";
import type { Host } from "../host/host.ts";
import type { ClusterSpec } from "../spec.ts";
import {
  type Authority,
  type CertificatePlan,
  clusterCertificates,
  isNeeded,
  optionalCertificates,
  userCertificate,
  workerCertificates,
} from "./plan.ts";
import { certificateRequest } from "./request.ts";

/** A certificate and its key as PEM; the key is secret. */
export interface KeyPair {
  readonly cert: pulumi.Output<string>;
  readonly key: pulumi.Output<string>;
}

const defaultKey = { algorithm: "ECDSA", ecdsaCurve: "P256" } as const;
const rsaKey = { algorithm: "RSA", rsaBits: 2048 } as const;

/**
 * What made up a certificate had a component as its parent, which cost three writes of the state each. It is the same
 * resource for a stack of that time: another key would be another cluster.
 */
const formerlyIn = (type: string, name: string, parent: pulumi.Resource): pulumi.CustomResourceOptions => ({
  parent,
  aliases: [{ parent: pulumi.createUrn(name, type, parent) }],
});

export interface CertificateAuthorityArgs {
  readonly spec: ClusterSpec;
  readonly commonName: string;
  /** Default: ECDSA P256. */
  readonly key?: tls.PrivateKeyArgs;
  /** Names and addresses, for an authority that also serves. */
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

/** A self-signed authority. Its renewal keeps the key, so that what it has signed stays valid. */
export class CertificateAuthority implements KeyPair {
  readonly cert: pulumi.Output<string>;
  readonly key: pulumi.Output<string>;

  constructor(name: string, args: CertificateAuthorityArgs, parent: pulumi.Resource) {
    const options = formerlyIn("plainkube:pki:CertificateAuthority", name, parent);
    const { dnsNames, ipAddresses } = args;
    const serves = dnsNames !== undefined || ipAddresses !== undefined;
    const key = new tls.PrivateKey(`${name}-key`, args.key ?? defaultKey, options);
    const cert = new tls.SelfSignedCert(
      `${name}-cert`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: args.commonName },
        ...(dnsNames && { dnsNames: [...dnsNames] }),
        ...(ipAddresses && { ipAddresses: [...ipAddresses] }),
        isCaCertificate: true,
        setSubjectKeyId: true,
        // What an authority signs is certificates; one that serves signs handshakes, too.
        allowedUses: serves ? ["cert_signing", "crl_signing", "digital_signature"] : ["cert_signing"],
        validityPeriodHours: args.spec.certificates.caValidityHours,
        earlyRenewalHours: args.spec.certificates.earlyRenewalHours,
      },
      options,
    );
    this.cert = cert.certPem;
    this.key = key.privateKeyPem;
  }
}

/** 32 bytes in base64; secret. Made of a password, as RandomBytes has its bytes as its id, which no state encrypts. */
const encryptionKey = (name: string, options: pulumi.CustomResourceOptions): pulumi.Output<string> =>
  new random.RandomPassword(name, { length: 64, special: false }, options).result.apply((password) =>
    createHash("sha256").update(password).digest("base64"),
  );

/** A certificate signed by one of the authorities; renewed by the first `up` within `earlyRenewalHours` of its end. */
export class Certificate implements KeyPair {
  readonly cert: pulumi.Output<string>;
  readonly key: pulumi.Output<string>;
  /** RFC 3339 time after which it is no longer valid. */
  readonly validityEnd: pulumi.Output<string>;

  constructor(
    name: string,
    args: { spec: ClusterSpec; plan: CertificatePlan; authority: CertificateAuthority },
    parent: pulumi.Resource,
  ) {
    const options = formerlyIn("plainkube:pki:Certificate", name, parent);
    const { plan, spec, authority } = args;
    const { commonName, organization, organizations } = plan;
    const key = new tls.PrivateKey(`${name}-key`, organizations ? rsaKey : defaultKey, options);
    // Signed with the key, but no secret.
    const ownRequest = (names: readonly string[]) =>
      pulumi.unsecret(key.privateKeyPem.apply((pem) => certificateRequest(pem, { commonName, organizations: names })));
    const request = () =>
      new tls.CertRequest(
        `${name}-request`,
        {
          privateKeyPem: key.privateKeyPem,
          subject: { commonName, ...(organization && { organization }) },
          ...(plan.dnsNames && { dnsNames: [...plan.dnsNames] }),
          ...(plan.ipAddresses && { ipAddresses: [...plan.ipAddresses] }),
        },
        options,
      ).certRequestPem;
    const cert = new tls.LocallySignedCert(
      `${name}-cert`,
      {
        certRequestPem: organizations ? ownRequest(organizations) : request(),
        caCertPem: authority.cert,
        caPrivateKeyPem: authority.key,
        allowedUses: ["digital_signature", ...plan.uses],
        validityPeriodHours: spec.certificates.validityHours,
        earlyRenewalHours: spec.certificates.earlyRenewalHours,
        setSubjectKeyId: true,
      },
      options,
    );
    this.cert = cert.certPem;
    this.key = key.privateKeyPem;
    this.validityEnd = cert.validityEndTime;
  }
}

export type ClusterCertificateName = keyof ReturnType<typeof clusterCertificates>;

export type OptionalCertificateName = keyof ReturnType<typeof optionalCertificates>;

export interface NodeCertificates {
  readonly client: Certificate;
  /** None where the kubelet asks the cluster for it. */
  readonly serving?: Certificate;
}

export interface PkiArgs {
  readonly spec: ClusterSpec;
  readonly hosts: readonly Pick<Host, "claimed">[];
}

/** So many hosts can get their first upload while the engine makes keys: it takes four requests a core at once. */
const few = 4;

/**
 * Has the engine asked for keys when the hosts are claimed, where they are few: it takes one request after the other, and hosts
 * take longer. Where they are many, uploads would keep all its workers busy, so that keys have to be first.
 */
export const afterClaims = (
  hosts: PkiArgs["hosts"],
  opts?: pulumi.ComponentResourceOptions,
): pulumi.ComponentResourceOptions =>
  pulumi.mergeOptions(opts, { dependsOn: hosts.length > few ? [] : hosts.map(({ claimed }) => claimed) });

/**
 * Every key and certificate of the cluster: three authorities, what they sign, the service-account key pair, and the keys
 * that encrypt what etcd gets.
 */
export class Pki extends pulumi.ComponentResource {
  readonly authorities: Readonly<Record<Authority, KeyPair>>;
  readonly serviceAccount: { readonly publicKey: pulumi.Output<string>; readonly key: pulumi.Output<string> };
  /** Those that the system has a use for. */
  readonly cluster: Readonly<Record<ClusterCertificateName, Certificate>>;
  /** Client certificates by the name of the user. */
  readonly users: ReadonlyMap<string, KeyPair>;
  /** The first moment at which a certificate of the cluster ends, as RFC 3339. */
  readonly firstExpiry: pulumi.Output<string>;
  /** 32 random bytes each in base64, the oldest first; secret. */
  readonly encryptionKeys: readonly pulumi.Output<string>[];
  readonly #optional: ReadonlyMap<string, Certificate>;
  readonly #nodes: ReadonlyMap<string, NodeCertificates>;

  constructor(name: string, { spec, hosts }: PkiArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:pki:Pki", name, {}, afterClaims(hosts, opts));
    const authority = (id: Authority, commonName: string) =>
      new CertificateAuthority(`${name}-${id}-ca`, { spec, commonName }, this);
    const authorities = {
      kubernetes: authority("kubernetes", "kubernetes-ca"),
      etcd: authority("etcd", "etcd-ca"),
      "front-proxy": authority("front-proxy", "front-proxy-ca"),
    };
    this.authorities = authorities;
    const serviceAccount = new tls.PrivateKey(`${name}-service-account-key`, rsaKey, { parent: this });
    this.serviceAccount = { publicKey: serviceAccount.publicKeyPem, key: serviceAccount.privateKeyPem };
    this.encryptionKeys = Array.from({ length: spec.apiServer.encryption.generation }, (_, i) =>
      encryptionKey(`${name}-encryption-key-${i + 1}`, { parent: this }),
    );

    const certificate = (id: string, plan: CertificatePlan) =>
      new Certificate(`${name}-${id}`, { spec, plan, authority: authorities[plan.authority] }, this);
    this.cluster = Object.fromEntries(
      Object.entries(clusterCertificates(spec))
        .filter(([id]) => isNeeded(spec, id))
        .map(([id, plan]) => [id, certificate(id, plan)]),
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
    const users = new Map(
      spec.users.map((user) => [user.name, certificate(`user-${user.name}`, userCertificate(user))]),
    );
    this.users = users;
    const nodes = [...this.#nodes.values()].flatMap((n) => [n.client, ...(n.serving ? [n.serving] : [])]);
    const ends = [...Object.values(this.cluster), ...nodes, ...users.values(), ...this.#optional.values()].map(
      (c) => c.validityEnd,
    );
    this.firstExpiry = pulumi.all(ends).apply((all) => all.sort()[0] ?? "");
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
}
