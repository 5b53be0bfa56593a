import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { ControlPlane } from "../control-plane/control-plane.ts";
import { certificateRights } from "../kubelet/rights.ts";
import type { Pki } from "../pki/pki.ts";
import type { ClusterSpec } from "../spec.ts";
import { kubeconfigOf } from "./kubeconfig.ts";

/**
 * The administrator's way in: a kubeconfig, the provider for everything inside the cluster, and the API server's right
 * to reach kubelets, and theirs to ask for certificates. What is made with `options` needs no API to be deleted with the cluster.
 */
export class Access extends pulumi.ComponentResource {
  /** Of the group system:masters; secret. */
  readonly kubeconfig: pulumi.Output<string>;
  readonly #provider: kubernetes.Provider;
  readonly #controlPlane: ControlPlane;

  constructor(
    name: string,
    args: { spec: ClusterSpec; pki: Pki; controlPlane: ControlPlane },
    opts?: pulumi.ComponentResourceOptions,
  ) {
    super("plainkube:access:Access", name, {}, opts);
    const { spec, pki, controlPlane } = args;
    this.#controlPlane = controlPlane;
    this.kubeconfig = kubeconfigOf(spec, "kubernetes-admin", pki.authorities.kubernetes, pki.cluster.admin);
    this.#provider = new kubernetes.Provider(
      `${name}-provider`,
      {
        kubeconfig: this.kubeconfig,
        // Constant, so that new certificates replace neither the provider nor what hangs on it.
        clusterIdentifier: spec.clusterName,
        enableServerSideApply: false,
        suppressHelmHookWarnings: true,
      },
      { parent: this, dependsOn: [controlPlane.ready] },
    );
    new kubernetes.rbac.v1.ClusterRoleBinding(
      `${name}-apiserver-to-kubelet`,
      {
        metadata: { name: "kube-apiserver-kubelet-admin" },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "system:kubelet-api-admin" },
        subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "kube-apiserver-kubelet-client" }],
      },
      this.options(this),
    );
    if (spec.kubelet.certificates === "bootstrapped") certificateRights(name, this.options(this));
    this.registerOutputs({});
  }

  /** Options of a resource inside the cluster. */
  options(parent: pulumi.Resource, dependsOn: pulumi.Resource[] = []): pulumi.CustomResourceOptions {
    return { parent, provider: this.#provider, dependsOn, deletedWith: this.#controlPlane.host.root };
  }
}
