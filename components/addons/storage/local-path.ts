import { createHash } from "node:crypto";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { imageRefs } from "../../images.ts";
import type { AddonsArgs } from "../addons.ts";
import { restricted } from "../restricted.ts";
import { localPathProvisioner } from "./provisioner.ts";
import { renderLocalPath } from "./render.ts";

// Its own: whoever may make pods in a namespace can be any of its service accounts.
const namespace = "local-path-storage";
const app = "local-path-provisioner";
const metadata = { name: app, namespace };
const subjects = [{ kind: "ServiceAccount", name: app, namespace }];
const rbac = "rbac.authorization.k8s.io";

/** local-path-provisioner: a claim gets a folder on the node of the pod that uses it, and takes it along when it goes. */
export class LocalPath extends pulumi.ComponentResource {
  constructor(name: string, args: AddonsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:addons:LocalPath", name, {}, opts);
    const { spec, access, nodes } = args;
    const space = new kubernetes.core.v1.Namespace(
      `${name}-namespace`,
      // Its helper mounts the folder of volumes, which no stricter level allows.
      { metadata: { name: namespace, labels: { "pod-security.kubernetes.io/enforce": "privileged" } } },
      access.options(this),
    );
    const options = access.options(this, [space]);
    const account = new kubernetes.core.v1.ServiceAccount(`${name}-account`, { metadata }, options);
    new kubernetes.rbac.v1.Role(
      `${name}-helper-role`,
      { metadata, rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get", "create", "delete"] }] },
      options,
    );
    new kubernetes.rbac.v1.RoleBinding(
      `${name}-helper-binding`,
      { metadata, roleRef: { apiGroup: rbac, kind: "Role", name: app }, subjects },
      options,
    );
    const read = ["get", "list", "watch"];
    new kubernetes.rbac.v1.ClusterRole(
      `${name}-role`,
      {
        metadata: { name: app },
        rules: [
          { apiGroups: [""], resources: ["nodes", "persistentvolumeclaims"], verbs: read },
          { apiGroups: ["storage.k8s.io"], resources: ["storageclasses"], verbs: read },
          {
            apiGroups: [""],
            resources: ["persistentvolumes"],
            verbs: [...read, "create", "patch", "update", "delete"],
          },
          { apiGroups: [""], resources: ["events"], verbs: ["create", "patch"] },
        ],
      },
      options,
    );
    new kubernetes.rbac.v1.ClusterRoleBinding(
      `${name}-binding`,
      { metadata: { name: app }, roleRef: { apiGroup: rbac, kind: "ClusterRole", name: app }, subjects },
      options,
    );
    const data = renderLocalPath(spec);
    const config = new kubernetes.core.v1.ConfigMap(`${name}-config`, { metadata, data }, options);
    const labels = { app };
    new kubernetes.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata,
        spec: {
          replicas: 1,
          selector: { matchLabels: labels },
          // Two at a time would both answer a claim.
          strategy: { type: "Recreate" },
          template: {
            metadata: {
              labels,
              annotations: { "plainkube/config": createHash("sha256").update(JSON.stringify(data)).digest("hex") },
            },
            spec: {
              serviceAccountName: app,
              priorityClassName: "system-cluster-critical",
              containers: [
                {
                  name: app,
                  image: imageRefs(spec.versions).localPathProvisioner,
                  imagePullPolicy: "IfNotPresent",
                  args: [
                    "start",
                    "--config=/etc/local-path-provisioner/config.json",
                    "--helper-pod-file=/etc/local-path-provisioner/helperPod.yaml",
                    `--namespace=${namespace}`,
                    `--provisioner-name=${localPathProvisioner}`,
                    `--service-account-name=${app}`,
                  ],
                  resources: { requests: { cpu: "10m", memory: "32Mi" }, limits: { memory: "128Mi" } },
                  securityContext: restricted,
                  volumeMounts: [{ name: "config", mountPath: "/etc/local-path-provisioner", readOnly: true }],
                },
              ],
              volumes: [{ name: "config", configMap: { name: app } }],
            },
          },
        },
      },
      access.options(this, [account, config, ...nodes]),
    );
  }
}
