import { kubeconfigOf } from "../access/kubeconfig.ts";
import type { Phase } from "../host/host.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";
import type { MinimalPki } from "./pki.ts";
import { minimalKeys, renderMinimalControllers, renderMinimalControlPlane, renderMinimalNode } from "./render.ts";

const kubeconfig = (spec: ClusterSpec, { authorities, cluster }: MinimalPki) => ({
  path: minimalKeys.kubeconfig,
  content: kubeconfigOf(spec, "admin", authorities.kubernetes, cluster.admin),
});

/** What etcd and the API server get, keys included. */
export function minimalControlPlane(spec: ClusterSpec, pki: MinimalPki): Phase {
  const { cert, key } = pki.authorities.kubernetes;
  return {
    payload: renderMinimalControlPlane(spec),
    secrets: [
      { path: minimalKeys.cert, content: cert, mode: "0644" },
      { path: minimalKeys.key, content: key },
      kubeconfig(spec, pki),
    ],
  };
}

/** What the controllers get; their kubeconfig is there already. */
export function minimalControllers(spec: ClusterSpec, pki: MinimalPki): Phase {
  return { payload: renderMinimalControllers(spec), rests: [kubeconfig(spec, pki).content] };
}

/** What every host gets for pods and Services; on the control plane's, the kubeconfig is there already. */
export function minimalNode(spec: ClusterSpec, host: HostSpec, pki: MinimalPki): Phase {
  return {
    payload: renderMinimalNode(spec, host),
    secrets: host.isControlPlane ? [] : [kubeconfig(spec, pki)],
  };
}
