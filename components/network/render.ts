import { readFileSync } from "node:fs";
import type { Payload } from "../host/shipment.ts";
import { binary, paths } from "../paths.ts";
import { fill, merge, withFlags, yaml } from "../render.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";
import { atLeast } from "../versions.ts";

const read = (name: string): string => readFileSync(new URL(`./${name}`, import.meta.url), "utf8");

/** The credentials with which a host follows Services and nodes. */
export const proxyKubeconfig = `${paths.kubeconfig}/kube-proxy.yaml`;

/** kube-proxy and the routes to every node's pods: what makes Services and pods answer from a host. */
export function renderNetwork(spec: ClusterSpec, host: HostSpec): Payload {
  const file = `${paths.etc}/kube-proxy.yaml`;
  const script = `${paths.scripts}/sync-routes`;
  const version = spec.versions.kubernetes;
  const config = {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    bindAddress: "0.0.0.0",
    clientConnection: { kubeconfig: proxyKubeconfig },
    clusterCIDR: spec.network.podCidr,
    // Zeros leave the host's own limits as they are.
    conntrack: { maxPerCore: 0, min: 0, tcpCloseWaitTimeout: "0s", tcpEstablishedTimeout: "0s" },
    hostnameOverride: host.name,
    iptables: { localhostNodePorts: false },
    mode: "iptables",
    nodePortAddresses: [atLeast(version, "1.31") ? "primary" : `${host.address}/32`],
  };
  const { flags, config: over } = spec.overrides.kubeProxy;
  return {
    files: [
      { path: `${paths.units}/kube-proxy.service`, content: withFlags(read("kube-proxy.service"), flags) },
      { path: file, content: yaml(merge(config, over)) },
      {
        path: `${paths.units}/plainkube-routes.service`,
        content: fill(read("plainkube-routes.service"), { POD_CIDR: spec.network.podCidr, NODE_NAME: host.name }),
      },
      { path: script, content: read("sync-routes.sh"), mode: "0755" },
    ],
    units: [
      {
        name: "kube-proxy.service",
        inputs: [binary("kube-proxy"), file, proxyKubeconfig],
        probe: `curl -sf http://127.0.0.1:10256/${atLeast(version, "1.28") ? "livez" : "healthz"}`,
      },
      {
        name: "plainkube-routes.service",
        inputs: [binary("kubectl"), script, proxyKubeconfig],
        probe: "test -e /run/plainkube/routes.ready",
      },
    ],
  };
}
