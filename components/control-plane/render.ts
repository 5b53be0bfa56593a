import { readFileSync } from "node:fs";
import { fillConfined, strongCiphers } from "../confined.ts";
import { renderEtcd } from "../etcd/render.ts";
import { concat, type Payload } from "../host/shipment.ts";
import { binary, paths } from "../paths.ts";
import { merge, withFlags, yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";
import { parts } from "../system.ts";
import { atLeast } from "../versions.ts";
import { enabledPlugins, renderAdmission } from "./admission.ts";
import { renderAudit } from "./audit.ts";
import { renderEgress } from "./egress.ts";
import { renderEncryption } from "./encryption.ts";
import { list } from "./part.ts";

const template = (name: string): string => readFileSync(new URL(`./${name}.service`, import.meta.url), "utf8");
const ciphers = strongCiphers.join(",");
const pki = (name: string): string => `${paths.pki}/${name}`;
const pair = (name: string): string[] => [pki(`${name}.crt`), pki(`${name}.key`)];

/** Kubeconfigs of the control plane's clients on their host. */
export const kubeconfigs = {
  admin: `${paths.kubeconfig}/admin.yaml`,
  aggregator: `${paths.kubeconfig}/admin-kube-aggregator.yaml`,
  controllerManager: `${paths.kubeconfig}/controller-manager.yaml`,
  scheduler: `${paths.kubeconfig}/scheduler.yaml`,
} as const;

/** Flags that say how kubelets are reached, taken away. */
const withoutKubelets = {
  "kubelet-certificate-authority": null,
  "kubelet-client-certificate": null,
  "kubelet-client-key": null,
  "kubelet-preferred-address-types": null,
} as const;

/** What every system has on the host of the control plane, in the order in which it starts. */
export const renderControlPlane = (spec: ClusterSpec): Payload => concat(renderEtcd(spec), renderApiServer(spec));

/** What systems with nodes have beside it. */
export const renderControllers = (spec: ClusterSpec): Payload =>
  concat(renderControllerManager(spec), renderScheduler(spec), renderApprover(spec));

/**
 * kube-apiserver: anonymous requests reach the health checks only. Before 1.34 it is RBAC
 * that keeps them from the rest: their conditions came with the file's v1.
 */
export function renderApiServer(spec: ClusterSpec): Payload {
  const hasAuthentication = atLeast(spec.versions.kubernetes, "1.34");
  const authentication = {
    path: `${paths.etc}/authentication.yaml`,
    content: yaml({
      apiVersion: "apiserver.config.k8s.io/v1",
      kind: "AuthenticationConfiguration",
      anonymous: { enabled: true, conditions: ["/livez", "/readyz", "/healthz"].map((path) => ({ path })) },
    }),
  };
  const hasNodes = parts[spec.system].has("nodes");
  const { apiServer, network } = spec;
  const { issuer = `https://kubernetes.default.svc.${network.dnsDomain}`, jwksUri, lookup } = apiServer.serviceAccounts;
  const unit = fillConfined(template("kube-apiserver"), {
    ADDRESS: spec.controlPlane.address,
    CIPHERS: ciphers,
    ADMISSION_PLUGINS: enabledPlugins(spec).join(","),
    AUTHORIZATION_MODES: apiServer.authorizationModes.join(","),
    ISSUER: issuer,
    JWKS_URI: jwksUri ?? `${issuer}/openid/v1/jwks`,
    SERVICE_ACCOUNT_LOOKUP: String(lookup),
    SERVICE_CIDR: network.serviceCidr,
    STORAGE_MEDIA_TYPE: apiServer.storageMediaType,
  });
  const concerns = [renderAdmission, renderAudit, renderEgress, renderEncryption].map((render) => render(spec));
  const files = concerns.flatMap((part) => part.files);
  const { corsAllowedOrigins: origins, externalHostname } = apiServer;
  const flags = {
    ...(!hasAuthentication && { "authentication-config": null }),
    ...(!hasNodes && withoutKubelets),
    ...Object.fromEntries(concerns.flatMap((part) => Object.entries(part.flags))),
    ...(origins.length > 0 && { "cors-allowed-origins": list(origins) }),
    ...(externalHostname !== undefined && { "external-hostname": externalHostname }),
    ...spec.overrides.kubeApiserver.flags,
  };
  return {
    files: [
      { path: `${paths.units}/kube-apiserver.service`, content: withFlags(unit, flags) },
      ...(hasAuthentication ? [authentication] : []),
      ...files,
    ],
    units: [
      {
        name: "kube-apiserver.service",
        inputs: [
          binary("kube-apiserver"),
          ...(hasAuthentication ? [authentication.path] : []),
          ...files.map((file) => file.path),
          ...concerns.flatMap((part) => part.secrets ?? []),
          pki("ca.crt"),
          pki("etcd/ca.crt"),
          pki("front-proxy-ca.crt"),
          pki("sa.pub"),
          pki("sa.key"),
          ...["apiserver", "apiserver-etcd-client"].flatMap(pair),
          ...(hasNodes ? pair("apiserver-kubelet-client") : []),
          ...pair("front-proxy-client"),
        ],
        probe: `curl -sf --cacert ${pki("ca.crt")} https://127.0.0.1:6443/readyz`,
      },
    ],
  };
}

function renderControllerManager(spec: ClusterSpec): Payload {
  const unit = fillConfined(template("kube-controller-manager"), {
    CIPHERS: ciphers,
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
function renderApprover(spec: ClusterSpec): Payload {
  if (spec.kubelet.certificates !== "bootstrapped") return { files: [], units: [] };
  const unit = fillConfined(template("plainkube-approver"), {
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

function renderScheduler(spec: ClusterSpec): Payload {
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
        content: withFlags(
          fillConfined(template("kube-scheduler"), { CIPHERS: ciphers }),
          spec.overrides.kubeScheduler.flags,
        ),
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
