import * as pulumi from "@pulumi/pulumi";
import { afterClaims, Certificate, CertificateAuthority, type KeyPair, type PkiArgs } from "../pki/pki.ts";
import { adminCertificate, servingNames } from "./render.ts";

/**
 * The keys of the system `minimal`: one self-signed RSA 4096 pair that signs service-account tokens, serves the API and is
 * the authority of the only client certificate, which every component and the administrator share.
 */
export class MinimalPki extends pulumi.ComponentResource {
  readonly authorities: { readonly kubernetes: KeyPair };
  readonly cluster: { readonly admin: KeyPair };
  /** When the client certificate ends, as RFC 3339. */
  readonly firstExpiry: pulumi.Output<string>;

  constructor(name: string, { spec, hosts }: PkiArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:pki:MinimalPki", name, {}, afterClaims(hosts, opts));
    const api = new CertificateAuthority(
      `${name}-api`,
      { spec, commonName: "api", key: { algorithm: "RSA", rsaBits: 4096 }, ...servingNames(spec) },
      this,
    );
    const admin = new Certificate(`${name}-admin`, { spec, plan: adminCertificate, authority: api }, this);
    this.authorities = { kubernetes: api };
    this.cluster = { admin };
    this.firstExpiry = admin.validityEnd;
  }
}
