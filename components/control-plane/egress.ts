import { paths } from "../paths.ts";
import { yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";
import { nothing, type ServerPart } from "./part.ts";

/**
 * How a proxy is reached: by TLS both ways with certificates of the cluster's authority, or by its socket. Upstream's
 * validation lets http:// pass, and its dialler then fails for want of a certificate.
 */
function connectionTo(way: string) {
  if (way === "direct") return { proxyProtocol: "Direct" };
  const tlsConfig = {
    caBundle: `${paths.pki}/ca.crt`,
    clientCert: `${paths.pki}/apiserver-kubelet-client.crt`,
    clientKey: `${paths.pki}/apiserver-kubelet-client.key`,
  };
  const transport = way.startsWith("unix://")
    ? { uds: { udsName: way.slice("unix://".length) } }
    : { tcp: { url: way, tlsConfig } };
  return { proxyProtocol: "HTTPConnect", transport };
}

/** Ways out of the API server, where any is chosen. */
export function renderEgress({ apiServer: { egressSelector } }: ClusterSpec): ServerPart {
  const selections = Object.entries(egressSelector).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  if (selections.length === 0) return nothing;
  const file = `${paths.etc}/egress-selector.yaml`;
  const configuration = {
    apiVersion: "apiserver.k8s.io/v1beta1",
    kind: "EgressSelectorConfiguration",
    egressSelections: selections.map(([name, way]) => ({ name, connection: connectionTo(way) })),
  };
  return {
    flags: { "egress-selector-config-file": file },
    files: [{ path: file, content: yaml(configuration) }],
  };
}
