import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../access/access.ts";
import { flannelCertificate } from "../pki/plan.ts";
import type { ClusterSpec } from "../spec.ts";

/** What the pod network may do in the API; returns what hosts have to wait for. Routes need nothing: they are kube-proxy's. */
export const grantPodNetwork = ({ spec, access }: { spec: ClusterSpec; access: Access }): readonly pulumi.Resource[] =>
  spec.network.podNetwork === "flannel" ? [new FlannelAccess("flannel", { access }).granted] : [];

/**
 * The rights of flanneld, as upstream's manifest has them but for pods, which it reads only as one: it finds the nodes, and
 * writes into its own where VXLAN packets for its pods go.
 */
class FlannelAccess extends pulumi.ComponentResource {
  /** Ends when flanneld may do its work. */
  readonly granted: pulumi.Resource;

  constructor(name: string, args: { access: Access }, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:network:FlannelAccess", name, {}, opts);
    const { access } = args;
    const user = flannelCertificate.commonName;
    const role = new kubernetes.rbac.v1.ClusterRole(
      `${name}-role`,
      {
        metadata: { name: user },
        rules: [
          { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
          { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
        ],
      },
      access.options(this),
    );
    this.granted = new kubernetes.rbac.v1.ClusterRoleBinding(
      `${name}-binding`,
      {
        metadata: { name: user },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: user },
        subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
      },
      access.options(this, [role]),
    );
    this.registerOutputs({});
  }
}
