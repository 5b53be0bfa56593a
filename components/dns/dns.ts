import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../access/access.ts";
import { imageRefs } from "../images.ts";
import type { Node } from "../node/node.ts";
import { type ClusterSpec, takesAnyPod } from "../spec.ts";
import { spreadOver, spreadOverComing } from "../spread.ts";
import { renderCorefile } from "./render.ts";

const namespace = "kube-system";
const labels = { "k8s-app": "kube-dns" };

export interface DnsArgs {
  readonly spec: ClusterSpec;
  readonly access: Access;
  /** Where CoreDNS spreads over. */
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
    // Its pods wait for two nodes: those that found one alone would stay on it.
    const coming = spreadOverComing(spec, Math.min(2, spec.hosts.filter(takesAnyPod).length || 1), labels);
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
                coming ?? { ...spreadOver(spec, labels), whenUnsatisfiable: "ScheduleAnyway" },
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
                  readinessProbe: { httpGet: { path: "/ready", port: 8181 }, periodSeconds: 1 },
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
      access.options(this, [account, config, ...(coming ? [] : nodes)]),
    );
  }
}
