import { readFileSync } from "node:fs";
import type { Payload } from "../host/shipment.ts";
import { binary, paths } from "../paths.ts";
import { fill, merge, withFlags, yaml } from "../render.ts";
import { cniTemplate } from "../runtime/render.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";
import { atLeast } from "../versions.ts";

const read = (name: string): string => readFileSync(new URL(`./${name}`, import.meta.url), "utf8");

/** The kubelet's own files with keys in them. */
export const kubeletFiles = {
  kubeconfig: `${paths.kubeconfig}/kubelet.yaml`,
  clientCa: `${paths.pki}/kubelet/ca.crt`,
  servingCert: `${paths.pki}/kubelet/serving.crt`,
  servingKey: `${paths.pki}/kubelet/serving.key`,
} as const;

/** The kubelet of one worker: webhook authorization, no anonymous requests, no read-only port. */
export function renderKubelet(spec: ClusterSpec, host: HostSpec): Payload {
  const file = `${paths.etc}/kubelet.yaml`;
  const script = `${paths.scripts}/link-resolv-conf`;
  const version = spec.versions.kubernetes;
  const runtime = `unix://${paths.containerdSocket}`;
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
    maxPods: spec.runtime.maxPods,
    readOnlyPort: 0,
    registerWithTaints: host.taints,
    resolvConf: "/run/plainkube/resolv.conf",
    tlsCertFile: kubeletFiles.servingCert,
    tlsPrivateKeyFile: kubeletFiles.servingKey,
    volumePluginDir: `${paths.kubelet}/volumeplugins`,
  };
  const labels = Object.entries(host.labels).map(([key, value]) => `${key}=${value}`);
  const own = {
    ...(labels.length > 0 && { "node-labels": labels.join(",") }),
    ...(!atLeast(version, "1.27") && { "container-runtime-endpoint": runtime }),
  };
  const unit = fill(read("kubelet.service"), {
    NAME: host.name,
    ADDRESS: host.address,
  });
  const { flags, config: over } = spec.overrides.kubelet;
  return {
    files: [
      { path: `${paths.units}/kubelet.service`, content: withFlags(unit, { ...own, ...flags }) },
      { path: script, content: read("link-resolv-conf.sh"), mode: "0755" },
      { path: file, content: yaml(merge(config, over)) },
    ],
    units: [
      {
        name: "kubelet.service",
        inputs: [binary("kubelet"), script, file, cniTemplate, ...Object.values(kubeletFiles)],
        // Working means registered.
        probe: `curl -sf http://127.0.0.1:10248/healthz && ${binary("kubectl")} --kubeconfig ${kubeletFiles.kubeconfig} get --raw /api/v1/nodes/${host.name}`,
      },
    ],
  };
}
