import * as pulumi from "@pulumi/pulumi";
import type { KeyPair } from "../pki/pki.ts";
import { yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

/** A user of a kubeconfig: the name, and the client certificate with its key as PEM. */
export interface KubeconfigUser {
  readonly name: string;
  readonly cert: string;
  readonly key: string;
}

/** A kubeconfig with everything in it: one cluster, and a context for each user; the first is the current one. */
export function renderKubeconfig(
  spec: ClusterSpec,
  ca: string,
  users: readonly [KubeconfigUser, ...KubeconfigUser[]],
  server: string = spec.apiEndpoint,
): string {
  const context = (user: string) => `${user}@${spec.clusterName}`;
  return yaml({
    apiVersion: "v1",
    kind: "Config",
    "current-context": context(users[0].name),
    clusters: [{ name: spec.clusterName, cluster: { server, "certificate-authority-data": base64(ca) } }],
    users: users.map(({ name, cert, key }) => ({
      name,
      user: { "client-certificate-data": base64(cert), "client-key-data": base64(key) },
    })),
    contexts: users.map(({ name }) => ({ name: context(name), context: { cluster: spec.clusterName, user: name } })),
  });
}

type Named = readonly [user: string, pair: KeyPair];

/** A name and a client certificate for it; secret, as the key is. */
export const credentials = ([name, { cert, key }]: Named): pulumi.Output<KubeconfigUser> =>
  pulumi.all([cert, key]).apply(([certPem, keyPem]) => ({ name, cert: certPem, key: keyPem }));

/** The kubeconfig of several client certificates, that of the first in use; secret. */
export function kubeconfigWith(
  spec: ClusterSpec,
  ca: KeyPair,
  [first, ...more]: readonly [Named, ...Named[]],
  server?: string,
) {
  return pulumi.secret(
    pulumi
      .all([ca.cert, credentials(first), pulumi.all(more.map(credentials))])
      .apply(([caPem, current, others]) => renderKubeconfig(spec, caPem, [current, ...others], server)),
  );
}

/** The kubeconfig of a client certificate; secret. */
export const kubeconfigOf = (
  spec: ClusterSpec,
  user: string,
  ca: KeyPair,
  pair: KeyPair,
  server?: string,
): pulumi.Output<string> => kubeconfigWith(spec, ca, [[user, pair]], server);
