import * as pulumi from "@pulumi/pulumi";
import type { KeyPair } from "../pki/pki.ts";
import { yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

/** A kubeconfig with everything in it: one cluster, one user, one context. */
export function renderKubeconfig(
  spec: ClusterSpec,
  user: string,
  pem: { ca: string; cert: string; key: string },
  server: string = spec.apiEndpoint,
): string {
  const context = `${user}@${spec.clusterName}`;
  return yaml({
    apiVersion: "v1",
    kind: "Config",
    "current-context": context,
    clusters: [
      {
        name: spec.clusterName,
        cluster: { server, "certificate-authority-data": base64(pem.ca) },
      },
    ],
    users: [{ name: user, user: { "client-certificate-data": base64(pem.cert), "client-key-data": base64(pem.key) } }],
    contexts: [{ name: context, context: { cluster: spec.clusterName, user } }],
  });
}

/** The kubeconfig of a client certificate; secret. */
export function kubeconfigOf(
  spec: ClusterSpec,
  user: string,
  ca: KeyPair,
  pair: KeyPair,
  server?: string,
): pulumi.Output<string> {
  return pulumi.secret(
    pulumi
      .all([ca.cert, pair.cert, pair.key])
      .apply(([caPem, cert, key]) => renderKubeconfig(spec, user, { ca: caPem, cert, key }, server)),
  );
}
