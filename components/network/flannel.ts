import * as kubernetes from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { bindingOf } from "../access/binding.ts";

/** As flanneld's certificate says it. */
export const flannelUser = "plainkube:flannel";

/**
 * The rights of flanneld, as upstream's manifest has them but for pods, which it reads only as one: it finds the nodes, and
 * writes into its own where VXLAN packets for its pods go. Returns what ends when it may do its work.
 */
export function flannelRights(name: string, options: pulumi.CustomResourceOptions): pulumi.Resource {
  const role = new kubernetes.rbac.v1.ClusterRole(
    `${name}-flannel-role`,
    {
      metadata: { name: flannelUser },
      rules: [
        { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
        { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
      ],
    },
    options,
  );
  return new kubernetes.rbac.v1.ClusterRoleBinding(
    `${name}-flannel-binding`,
    { metadata: { name: flannelUser }, ...bindingOf(flannelUser, flannelUser) },
    { ...options, dependsOn: [role] },
  );
}
