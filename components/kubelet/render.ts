import { readFileSync } from "node:fs";
import { strongCiphers } from "../confined.ts";
import type { Payload } from "../host/shipment.ts";
import { binary, paths } from "../paths.ts";
import { fill, merge, withCommandBefore, withFlags, yaml } from "../render.ts";
import { cniTemplate } from "../runtime/render.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";
import { atLeast } from "../versions.ts";

const read = (name: string): string => readFileSync(new URL(`./${name}`, import.meta.url), "utf8");

/** The kubelet's own files with keys in them, or to check others' keys. */
export const kubeletFiles = {
  clientCa: `${paths.pki}/kubelet/ca.crt`,
  issued: {
    kubeconfig: `${paths.kubeconfig}/kubelet.yaml`,
    servingCert: `${paths.pki}/kubelet/serving.crt`,
    servingKey: `${paths.pki}/kubelet/serving.key`,
  },
  bootstrapped: {
    /** With its node's identity, to ask for certificates with. */
    bootstrapKubeconfig: `${paths.kubeconfig}/kubelet-bootstrap.yaml`,
  },
} as const;

/** What a kubelet writes that asks the cluster for its certificates; at the latter it finds both itself. */
const own = {
  kubeconfig: `${paths.kubelet}/kubeconfig.yaml`,
  servingCert: `${paths.kubelet}/pki/kubelet-server-current.pem`,
} as const;

/** How a kubelet comes to its certificates: flags, fields, the files that it rests on, and when it can serve. */
function certificatesOf(spec: ClusterSpec) {
  const { clientCa, issued, bootstrapped } = kubeletFiles;
  return spec.kubelet.certificates === "issued"
    ? {
        flags: {},
        config: { tlsCertFile: issued.servingCert, tlsPrivateKeyFile: issued.servingKey },
        inputs: [issued.kubeconfig, clientCa, issued.servingCert, issued.servingKey],
        kubeconfig: issued.kubeconfig,
        canServe: [],
      }
    : {
        flags: { kubeconfig: own.kubeconfig, "bootstrap-kubeconfig": bootstrapped.bootstrapKubeconfig },
        config: { rotateCertificates: true, serverTLSBootstrap: true },
        inputs: [bootstrapped.bootstrapKubeconfig, clientCa],
        kubeconfig: own.kubeconfig,
        canServe: [`test -e ${own.servingCert}`],
      };
}

/** The kubelet of one worker: webhook authorization, no anonymous requests, no read-only port. */
export function renderKubelet(spec: ClusterSpec, host: HostSpec): Payload {
  const file = `${paths.etc}/kubelet.yaml`;
  const script = `${paths.scripts}/link-resolv-conf`;
  const forgetNetwork = `${paths.scripts}/forget-network`;
  const version = spec.versions.kubernetes;
  const runtime = `unix://${paths.containerdSocket}`;
  const certificates = certificatesOf(spec);
  const config = {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: "0.0.0.0",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: kubeletFiles.clientCa },
    },
    authorization: { mode: "Webhook" },
    cgroupDriver: spec.runtime.cgroupDriver,
    clusterDNS: [spec.dnsAddress],
    clusterDomain: spec.network.dnsDomain,
    ...(atLeast(version, "1.27") && { containerRuntimeEndpoint: runtime }),
    evictionHard: spec.runtime.evictionHard,
    // An older kubelet takes both versions of cgroups.
    ...(atLeast(version, "1.31") && { failCgroupV1: !spec.runtime.allowCgroupV1 }),
    enableDebugFlagsHandler: false,
    enableProfilingHandler: false,
    // Chains for others that use iptables: there shall be none.
    ...(spec.network.kubeProxyMode === "nftables" && { makeIPTablesUtilChains: false }),
    maxPods: spec.runtime.maxPods,
    podPidsLimit: 4096,
    readOnlyPort: 0,
    registerWithTaints: host.taints,
    resolvConf: "/run/plainkube/resolv.conf",
    // Without a profile of its own, a container gets the runtime's.
    seccompDefault: true,
    ...certificates.config,
    tlsCipherSuites: strongCiphers,
    tlsMinVersion: "VersionTLS12",
    volumePluginDir: `${paths.kubelet}/volumeplugins`,
  };
  const labels = Object.entries(host.labels).map(([key, value]) => `${key}=${value}`);
  const given = {
    ...(labels.length > 0 && { "node-labels": labels.join(",") }),
    ...(!atLeast(version, "1.27") && { "container-runtime-endpoint": runtime }),
  };
  const unit = fill(read("kubelet.service"), {
    NAME: host.name,
    ADDRESS: host.address,
    KUBECONFIG: certificates.kubeconfig,
  });
  const { flags, config: over } = spec.overrides.kubelet;
  const asks = spec.kubelet.certificates === "bootstrapped";
  const forget = `${paths.scripts}/forget-certificates`;
  return {
    files: [
      {
        path: `${paths.units}/kubelet.service`,
        content: withFlags(asks ? withCommandBefore(unit, forget) : unit, {
          ...certificates.flags,
          ...given,
          ...flags,
        }),
      },
      ...(asks ? [{ path: forget, content: read("forget-certificates.sh"), mode: "0755" }] : []),
      { path: script, content: read("link-resolv-conf.sh"), mode: "0755" },
      { path: forgetNetwork, content: read("forget-network.sh"), mode: "0755" },
      { path: file, content: yaml(merge(config, over)) },
    ],
    units: [
      {
        name: "kubelet.service",
        inputs: [
          ...[binary("kubelet"), script, forgetNetwork, ...(asks ? [forget] : []), file, cniTemplate],
          ...certificates.inputs,
        ],
        // Working means registered, and able to serve.
        probe: [
          "curl -sf http://127.0.0.1:10248/healthz",
          ...certificates.canServe,
          `${binary("kubectl")} --kubeconfig ${certificates.kubeconfig} get --raw /api/v1/nodes/${host.name}`,
        ].join(" && "),
      },
    ],
  };
}
