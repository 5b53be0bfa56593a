import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { type Access, deletedAtOnce } from "../access/access.ts";

/** The namespaces that kube-apiserver makes by itself. */
const namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"] as const;

/**
 * The ServiceAccount `default` in each namespace that kube-apiserver makes. A controller manager would make it; without
 * one, and without the account, no pod is accepted there.
 */
export class Accounts extends pulumi.ComponentResource {
  constructor(name: string, args: { access: Access }, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:accounts:Accounts", name, {}, opts);
    for (const namespace of namespaces) {
      new kubernetes.core.v1.ServiceAccount(
        `${name}-${namespace}`,
        { metadata: { name: "default", namespace, annotations: deletedAtOnce } },
        args.access.options(this),
      );
    }
  }
}
