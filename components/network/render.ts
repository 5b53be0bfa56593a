import { readFileSync } from "node:fs";
import { fillNetworkConfined } from "../confined.ts";
import { concat, type HostFile, type Payload } from "../host/shipment.ts";
import { binary, paths } from "../paths.ts";
import { merge, withFlags, yaml } from "../render.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";
import { atLeast } from "../versions.ts";

const read = (name: string): string => readFileSync(new URL(`./${name}`, import.meta.url), "utf8");

/** The credentials with which a host follows Services and nodes. */
export const proxyKubeconfig = `${paths.kubeconfig}/kube-proxy.yaml`;
/** The credentials with which flanneld follows nodes and annotates its own. */
export const flannelKubeconfig = `${paths.kubeconfig}/flannel.yaml`;

/** kube-proxy, and the pod network that the cluster chooses: what makes Services and pods answer from a host. */
export const renderNetwork = (spec: ClusterSpec, host: HostSpec): Payload =>
  concat(
    renderKubeProxy(spec, host),
    spec.network.podNetwork === "flannel" ? renderFlannel(spec, host) : renderRoutes(spec, host),
  );

function renderKubeProxy(spec: ClusterSpec, host: HostSpec): Payload {
  const file = `${paths.etc}/kube-proxy.yaml`;
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
    mode: spec.network.kubeProxyMode,
    nodePortAddresses: [atLeast(version, "1.31") ? "primary" : `${host.address}/32`],
  };
  const { flags, config: over } = spec.overrides.kubeProxy;
  return {
    files: [
      {
        path: `${paths.units}/kube-proxy.service`,
        content: withFlags(fillNetworkConfined(read("kube-proxy.service")), flags),
      },
      { path: file, content: yaml(merge(config, over)) },
    ],
    units: [
      {
        name: "kube-proxy.service",
        inputs: [binary("kube-proxy"), file, proxyKubeconfig],
        probe: `curl -sf http://127.0.0.1:10256/${atLeast(version, "1.28") ? "livez" : "healthz"}`,
      },
    ],
  };
}

const script = (name: string, source = `${name}.sh`): HostFile => ({
  path: `${paths.scripts}/${name}`,
  content: read(source),
  mode: "0755",
});
/** What either pod network does first. */
const prepare: readonly HostFile[] = [script("prepare-network"), script("netfilter", "../host/netfilter.sh")];

function renderRoutes(spec: ClusterSpec, host: HostSpec): Payload {
  const { podCidr, kubeProxyMode } = spec.network;
  const scripts = [...prepare, script("sync-routes")];
  const unit = { POD_CIDR: podCidr, NODE_NAME: host.name, NETFILTER: kubeProxyMode };
  return {
    files: [
      {
        path: `${paths.units}/plainkube-routes.service`,
        content: fillNetworkConfined(read("plainkube-routes.service"), unit),
      },
      ...scripts,
    ],
    units: [
      {
        name: "plainkube-routes.service",
        inputs: [binary("kubectl"), ...scripts.map((s) => s.path), proxyKubeconfig],
        probe: "test -e /run/plainkube/routes.ready",
      },
    ],
  };
}

function renderFlannel(spec: ClusterSpec, host: HostSpec): Payload {
  const { podCidr, kubeProxyMode, flannel } = spec.network;
  const file = `${paths.etc}/flannel.json`;
  const scripts = [...prepare, script("wait-for-pod-cidr")];
  const unit = {
    ADDRESS: host.address,
    NODE_NAME: host.name,
    POD_CIDR: podCidr,
    NETFILTER: kubeProxyMode,
    // flanneld's own name for it.
    VXLAN_DEVICE: `flannel.${flannel.vni}`,
  };
  const config = {
    Network: podCidr,
    // With its own rules off, this only decides which tool it looks for: it refuses to run with nft alone.
    EnableNFTables: false,
    Backend: { Type: "vxlan", VNI: flannel.vni, Port: flannel.port },
  };
  return {
    files: [
      { path: `${paths.units}/flanneld.service`, content: fillNetworkConfined(read("flanneld.service"), unit) },
      { path: file, content: `${JSON.stringify(config, null, 2)}\n` },
      ...scripts,
    ],
    units: [
      {
        name: "flanneld.service",
        inputs: [binary("flanneld"), binary("kubectl"), file, ...scripts.map((s) => s.path), flannelKubeconfig],
      },
    ],
  };
}
