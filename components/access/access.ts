import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { ControlPlane } from "../control-plane/control-plane.ts";
import type { Host } from "../host/host.ts";
import { certificateRights } from "../kubelet/rights.ts";
import type { MinimalPki } from "../minimal/pki.ts";
import { flannelRights } from "../network/flannel.ts";
import { Pki } from "../pki/pki.ts";
import type { ClusterSpec } from "../spec.ts";
import { parts } from "../system.ts";
import { bindingOf } from "./binding.ts";
import { kubeconfigOf, kubeconfigWith } from "./kubeconfig.ts";

/**
 * Annotations of what nothing hangs on. Pulumi's own way to delete waits for a garbage collector, which is in the
 * controller manager, and a system may have none.
 */
export const deletedAtOnce = { "pulumi.com/deletionPropagationPolicy": "background" } as const;

/** Fields of an object that is taken over may be said to be another's: that of a run that was killed. */
const takenOver: pulumi.ResourceTransformation = ({ props, opts }) => ({
  props: {
    ...props,
    metadata: {
      ...props.metadata,
      annotations: { ...props.metadata.annotations, "pulumi.com/patchForce": "true" },
    },
  },
  opts,
});

/**
 * The ways in: kubeconfigs, the administrator's provider for everything inside the cluster, and the rights
 * of the API server and of what runs on hosts. What is made with `options` needs no API to be deleted with the cluster.
 */
export class Access extends pulumi.ComponentResource {
  /** The administrator's, of the group system:masters, with a context for each user beside it; secret. */
  readonly kubeconfig: pulumi.Output<string>;
  /** End when the API is ready, and knows what a host needs that it may do. */
  readonly ready: readonly pulumi.Resource[];
  /** The host of the API server. */
  readonly controlPlane: Host;
  readonly #provider: kubernetes.Provider;

  constructor(
    name: string,
    args: { spec: ClusterSpec; pki: Pki | MinimalPki; controlPlane: ControlPlane },
    opts?: pulumi.ComponentResourceOptions,
  ) {
    super("plainkube:access:Access", name, {}, opts);
    const { spec, pki, controlPlane } = args;
    this.controlPlane = controlPlane.host;
    const ca = pki.authorities.kubernetes;
    this.kubeconfig = kubeconfigWith(spec, ca, [
      ["kubernetes-admin", pki.cluster.admin],
      ...(pki instanceof Pki ? pki.users : []),
    ]);
    this.#provider = new kubernetes.Provider(
      `${name}-provider`,
      {
        // Without the users, so that one more changes nothing here.
        kubeconfig: kubeconfigOf(spec, "kubernetes-admin", ca, pki.cluster.admin),
        // Constant, so that new certificates replace neither the provider nor what hangs on it.
        clusterIdentifier: spec.clusterName,
        // An object that a run made which was killed before it could note it is taken over, instead of being in the way.
        enableServerSideApply: true,
        suppressHelmHookWarnings: true,
      },
      { parent: this, dependsOn: [controlPlane.ready] },
    );
    const ready: pulumi.Resource[] = [controlPlane.ready];
    // Where every user may do everything, nobody needs to be allowed something.
    if (pki instanceof Pki && parts[spec.system].has("nodes")) {
      new kubernetes.rbac.v1.ClusterRoleBinding(
        `${name}-apiserver-to-kubelet`,
        {
          metadata: { name: "kube-apiserver-kubelet-admin" },
          ...bindingOf("system:kubelet-api-admin", "kube-apiserver-kubelet-client"),
        },
        this.options(this),
      );
      if (spec.kubelet.certificates === "bootstrapped") certificateRights(name, this.options(this));
      if (spec.network.podNetwork === "flannel") ready.push(flannelRights(name, this.options(this)));
    }
    // flanneld waits for its pod CIDR, and a kubelet for its certificate: both come from the controllers.
    if (spec.network.podNetwork === "flannel" || spec.kubelet.certificates === "bootstrapped") {
      ready.push(controlPlane.settled);
    }
    this.ready = ready;
  }

  /** Options of a resource inside the cluster. */
  options(parent: pulumi.Resource, dependsOn: pulumi.Resource[] = []): pulumi.CustomResourceOptions {
    return {
      parent,
      provider: this.#provider,
      dependsOn,
      deletedWith: this.controlPlane.root,
      transformations: [takenOver],
    };
  }
}
