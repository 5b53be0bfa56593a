import * as kubernetes from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { bindingOf } from "../access/binding.ts";

const rbac = "rbac.authorization.k8s.io";
const certificates = "certificates.k8s.io";
const approver = "plainkube:kubelet-serving-approver";

/** What kubelets and their approver may do where kubelets ask for their certificates. */
export function certificateRights(name: string, options: pulumi.CustomResourceOptions): void {
  // The controller manager approves what a node asks for itself.
  new kubernetes.rbac.v1.ClusterRoleBinding(
    `${name}-kubelet-csr`,
    {
      metadata: { name: "kubelet-csr" },
      roleRef: {
        apiGroup: rbac,
        kind: "ClusterRole",
        name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
      },
      subjects: [{ apiGroup: rbac, kind: "Group", name: "system:nodes" }],
    },
    options,
  );
  new kubernetes.rbac.v1.ClusterRole(
    `${name}-approver-role`,
    {
      metadata: { name: approver },
      rules: [
        { apiGroups: [certificates], resources: ["certificatesigningrequests"], verbs: ["watch"] },
        { apiGroups: [certificates], resources: ["certificatesigningrequests/approval"], verbs: ["patch"] },
        {
          apiGroups: [certificates],
          resources: ["signers"],
          resourceNames: ["kubernetes.io/kubelet-serving"],
          verbs: ["approve"],
        },
      ],
    },
    options,
  );
  new kubernetes.rbac.v1.ClusterRoleBinding(
    `${name}-approver-binding`,
    { metadata: { name: approver }, ...bindingOf(approver, approver) },
    options,
  );
}
