import { readFileSync } from "node:fs";
import type { Payload } from "../host/shipment.ts";
import { binary, paths } from "../paths.ts";
import { fill, merge, withFlags, yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";

const template = (name: string): string => readFileSync(new URL(`./${name}.service`, import.meta.url), "utf8");
const pki = (name: string): string => `${paths.pki}/${name}`;
const pair = (name: string): string[] => [pki(`${name}.crt`), pki(`${name}.key`)];

/** Kubeconfigs of the control plane's clients on their host. */
export const kubeconfigs = {
  controllerManager: `${paths.kubeconfig}/controller-manager.yaml`,
  scheduler: `${paths.kubeconfig}/scheduler.yaml`,
} as const;

/** kube-apiserver: Node and RBAC authorization; anonymous requests reach the health checks only. */
export function renderApiServer(spec: ClusterSpec): Payload {
  const authentication = `${paths.etc}/authentication.yaml`;
  const unit = fill(template("kube-apiserver"), {
    ADDRESS: spec.controlPlane.address,
    DNS_DOMAIN: spec.network.dnsDomain,
    SERVICE_CIDR: spec.network.serviceCidr,
  });
  return {
    files: [
      { path: `${paths.units}/kube-apiserver.service`, content: withFlags(unit, spec.overrides.kubeApiserver.flags) },
      {
        path: authentication,
        content: yaml({
          apiVersion: "apiserver.config.k8s.io/v1",
          kind: "AuthenticationConfiguration",
          anonymous: { enabled: true, conditions: ["/livez", "/readyz", "/healthz"].map((path) => ({ path })) },
        }),
      },
    ],
    units: [
      {
        name: "kube-apiserver.service",
        inputs: [
          binary("kube-apiserver"),
          authentication,
          pki("ca.crt"),
          pki("etcd/ca.crt"),
          pki("front-proxy-ca.crt"),
          pki("sa.pub"),
          pki("sa.key"),
          ...["apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-client"].flatMap(pair),
        ],
        probe: `curl -sf --cacert ${pki("ca.crt")} https://127.0.0.1:6443/readyz`,
      },
    ],
  };
}

export function renderControllerManager(spec: ClusterSpec): Payload {
  const unit = fill(template("kube-controller-manager"), {
    CLUSTER_NAME: spec.clusterName,
    POD_CIDR: spec.network.podCidr,
    NODE_CIDR_MASK_SIZE: spec.network.nodeCidrMaskSize,
    SERVICE_CIDR: spec.network.serviceCidr,
  });
  return {
    files: [
      {
        path: `${paths.units}/kube-controller-manager.service`,
        content: withFlags(unit, spec.overrides.kubeControllerManager.flags),
      },
    ],
    units: [
      {
        name: "kube-controller-manager.service",
        inputs: [
          binary("kube-controller-manager"),
          kubeconfigs.controllerManager,
          pki("front-proxy-ca.crt"),
          pki("sa.key"),
          ...pair("ca"),
        ],
        probe: "curl -sfk https://127.0.0.1:10257/healthz",
      },
    ],
  };
}

/** What approves kubelets' serving certificates, where they ask for them: nothing but each host's own name and address. */
export function renderApprover(spec: ClusterSpec): Payload {
  if (spec.kubelet.certificates !== "bootstrapped") return { files: [], units: [] };
  const unit = fill(template("plainkube-approver"), {
    API_ENDPOINT: spec.apiEndpoint,
    HOSTS: spec.workers.map((host) => `--host=${host.name}=${host.address}`).join(" \\\n  "),
  });
  return {
    files: [{ path: `${paths.units}/plainkube-approver.service`, content: unit }],
    units: [
      {
        name: "plainkube-approver.service",
        inputs: [binary("kubelet-serving-approver"), pki("ca.crt"), ...pair("kubelet-serving-approver")],
      },
    ],
  };
}

export function renderScheduler(spec: ClusterSpec): Payload {
  const file = `${paths.etc}/scheduler.yaml`;
  const config = {
    apiVersion: "kubescheduler.config.k8s.io/v1",
    kind: "KubeSchedulerConfiguration",
    clientConnection: { kubeconfig: kubeconfigs.scheduler, qps: 300, burst: 600 },
    enableProfiling: false,
    leaderElection: { leaderElect: false },
  };
  return {
    files: [
      {
        path: `${paths.units}/kube-scheduler.service`,
        content: withFlags(template("kube-scheduler"), spec.overrides.kubeScheduler.flags),
      },
      { path: file, content: yaml(merge(config, spec.overrides.kubeScheduler.config)) },
    ],
    units: [
      {
        name: "kube-scheduler.service",
        inputs: [binary("kube-scheduler"), file, kubeconfigs.scheduler, pki("ca.crt"), pki("front-proxy-ca.crt")],
        probe: "curl -sfk https://127.0.0.1:10259/healthz",
      },
    ],
  };
}
