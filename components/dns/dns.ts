import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../access/access.ts";
import { imageRefs } from "../images.ts";
import type { Node } from "../node/node.ts";
import type { ClusterSpec } from "../spec.ts";
import { renderCorefile } from "./render.ts";

const namespace = "kube-system";
const labels = { "k8s-app": "kube-dns" };

export interface DnsArgs {
  readonly spec: ClusterSpec;
  readonly access: Access;
  /** Registered before CoreDNS is scheduled, so that it spreads over them. */
  readonly nodes: readonly Node[];
}

/** CoreDNS: two replicas behind the Service kube-dns at the tenth address of the service CIDR. */
export class Dns extends pulumi.ComponentResource {
  constructor(name: string, args: DnsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:dns:Dns", name, {}, opts);
    const { spec, access, nodes } = args;
    const options = access.options(this);
    const account = new kubernetes.core.v1.ServiceAccount(
      `${name}-account`,
      { metadata: { name: "coredns", namespace } },
      options,
    );
    new kubernetes.rbac.v1.ClusterRole(
      `${name}-role`,
      {
        metadata: { name: "system:coredns" },
        rules: [
          { apiGroups: [""], resources: ["endpoints", "services", "pods", "namespaces"], verbs: ["list", "watch"] },
          { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
        ],
      },
      options,
    );
    new kubernetes.rbac.v1.ClusterRoleBinding(
      `${name}-binding`,
      {
        metadata: { name: "system:coredns" },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "system:coredns" },
        subjects: [{ kind: "ServiceAccount", name: "coredns", namespace }],
      },
      options,
    );
    const corefile = renderCorefile(spec);
    const config = new kubernetes.core.v1.ConfigMap(
      `${name}-config`,
      { metadata: { name: "coredns", namespace }, data: { Corefile: corefile } },
      options,
    );
    new kubernetes.core.v1.Service(
      `${name}-service`,
      {
        metadata: {
          name: "kube-dns",
          namespace,
          labels: { ...labels, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS" },
          annotations: { "pulumi.com/skipAwait": "true" },
        },
        spec: {
          clusterIP: spec.dnsAddress,
          selector: labels,
          ports: [
            { name: "dns", port: 53, protocol: "UDP" },
            { name: "dns-tcp", port: 53, protocol: "TCP" },
            { name: "metrics", port: 9153, protocol: "TCP" },
          ],
        },
      },
      options,
    );
    new kubernetes.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata: { name: "coredns", namespace, labels, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: {
          replicas: 2,
          selector: { matchLabels: labels },
          strategy: { rollingUpdate: { maxUnavailable: 1 } },
          template: {
            metadata: { labels },
            spec: {
              serviceAccountName: "coredns",
              priorityClassName: "system-cluster-critical",
              dnsPolicy: "Default",
              tolerations: [{ key: "CriticalAddonsOnly", operator: "Exists" }],
              topologySpreadConstraints: [
                {
                  maxSkew: 1,
                  topologyKey: "kubernetes.io/hostname",
                  whenUnsatisfiable: "ScheduleAnyway",
                  labelSelector: { matchLabels: labels },
                },
              ],
              containers: [
                {
                  name: "coredns",
                  image: imageRefs(spec.versions).coredns,
                  imagePullPolicy: "IfNotPresent",
                  args: ["-conf", "/etc/coredns/Corefile"],
                  ports: [
                    { name: "dns", containerPort: 53, protocol: "UDP" },
                    { name: "dns-tcp", containerPort: 53, protocol: "TCP" },
                    { name: "metrics", containerPort: 9153, protocol: "TCP" },
                  ],
                  resources: { requests: { cpu: "50m", memory: "70Mi" }, limits: { memory: "170Mi" } },
                  readinessProbe: { httpGet: { path: "/ready", port: 8181 }, periodSeconds: 2 },
                  livenessProbe: {
                    httpGet: { path: "/health", port: 8080 },
                    initialDelaySeconds: 30,
                    failureThreshold: 5,
                  },
                  securityContext: {
                    allowPrivilegeEscalation: false,
                    capabilities: { add: ["NET_BIND_SERVICE"], drop: ["ALL"] },
                    readOnlyRootFilesystem: true,
                  },
                  volumeMounts: [{ name: "config", mountPath: "/etc/coredns", readOnly: true }],
                },
              ],
              volumes: [{ name: "config", configMap: { name: "coredns" } }],
            },
          },
        },
      },
      access.options(this, [account, config, ...nodes]),
    );
    this.registerOutputs({});
  }
}
