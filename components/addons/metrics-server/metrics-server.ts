import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { imageRefs } from "../../images.ts";
import type { AddonsArgs } from "../addons.ts";
import { restricted } from "../restricted.ts";

const namespace = "kube-system";
const app = "metrics-server";
const labels = { "k8s-app": app };
const metadata = { name: app, namespace, labels };
const account = { kind: "ServiceAccount", name: app, namespace };
const rbac = "rbac.authorization.k8s.io";

/**
 * metrics-server behind the aggregated API metrics.k8s.io. Every connection is verified: kubelets by the cluster's authority,
 * metrics-server by a certificate of that authority, the API server by its front-proxy certificate.
 */
export class MetricsServer extends pulumi.ComponentResource {
  constructor(name: string, args: AddonsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:addons:MetricsServer", name, {}, opts);
    const { spec, pki, access, nodes } = args;
    const options = access.options(this);
    const serviceAccount = new kubernetes.core.v1.ServiceAccount(`${name}-account`, { metadata }, options);
    new kubernetes.rbac.v1.ClusterRole(
      `${name}-reader-role`,
      {
        metadata: {
          name: "system:aggregated-metrics-reader",
          labels: Object.fromEntries(
            ["view", "edit", "admin"].map((role) => [`rbac.authorization.k8s.io/aggregate-to-${role}`, "true"]),
          ),
        },
        rules: [{ apiGroups: ["metrics.k8s.io"], resources: ["pods", "nodes"], verbs: ["get", "list", "watch"] }],
      },
      options,
    );
    new kubernetes.rbac.v1.ClusterRole(
      `${name}-role`,
      {
        metadata: { name: "system:metrics-server", labels },
        rules: [
          { apiGroups: [""], resources: ["nodes/metrics"], verbs: ["get"] },
          { apiGroups: [""], resources: ["pods", "nodes"], verbs: ["get", "list", "watch"] },
        ],
      },
      options,
    );
    const roles = { "system:metrics-server": "binding", "system:auth-delegator": "delegator-binding" };
    for (const [role, part] of Object.entries(roles)) {
      new kubernetes.rbac.v1.ClusterRoleBinding(
        `${name}-${part}`,
        {
          metadata: { name: role === "system:metrics-server" ? role : `metrics-server:${role}`, labels },
          roleRef: { apiGroup: rbac, kind: "ClusterRole", name: role },
          subjects: [account],
        },
        options,
      );
    }
    // The authority and the names of front proxies: who may say on whose behalf it asks.
    new kubernetes.rbac.v1.RoleBinding(
      `${name}-auth-reader-binding`,
      {
        metadata: { name: "metrics-server-auth-reader", namespace, labels },
        roleRef: { apiGroup: rbac, kind: "Role", name: "extension-apiserver-authentication-reader" },
        subjects: [account],
      },
      options,
    );
    const { cert, key } = pki.optional("metrics-server");
    const serving = new kubernetes.core.v1.Secret(
      `${name}-serving`,
      {
        metadata: { ...metadata, name: "metrics-server-serving" },
        type: "kubernetes.io/tls",
        stringData: { "tls.crt": cert, "tls.key": key },
      },
      options,
    );
    const service = new kubernetes.core.v1.Service(
      `${name}-service`,
      {
        metadata: { ...metadata, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: { selector: labels, ports: [{ name: "https", port: 443, targetPort: "https", appProtocol: "https" }] },
      },
      options,
    );
    new kubernetes.apiregistration.v1.APIService(
      `${name}-api`,
      {
        metadata: { name: "v1beta1.metrics.k8s.io", labels },
        spec: {
          group: "metrics.k8s.io",
          version: "v1beta1",
          service: { name: app, namespace },
          caBundle: pki.authorities.kubernetes.cert.apply((pem) => Buffer.from(pem, "utf8").toString("base64")),
          groupPriorityMinimum: 100,
          versionPriority: 100,
        },
      },
      access.options(this, [service]),
    );
    new kubernetes.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata,
        spec: {
          replicas: 1,
          selector: { matchLabels: labels },
          strategy: { rollingUpdate: { maxUnavailable: 0 } },
          template: {
            metadata: { labels },
            spec: {
              serviceAccountName: app,
              priorityClassName: "system-cluster-critical",
              containers: [
                {
                  name: app,
                  image: imageRefs(spec.versions).metricsServer,
                  imagePullPolicy: "IfNotPresent",
                  args: [
                    // Every namespace's service accounts know the cluster's authority, which signs kubelets' certificates.
                    "--kubelet-certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
                    "--kubelet-preferred-address-types=InternalIP",
                    "--kubelet-use-node-status-port",
                    "--metric-resolution=15s",
                    "--secure-port=10250",
                    "--tls-cert-file=/etc/metrics-server/tls.crt",
                    "--tls-private-key-file=/etc/metrics-server/tls.key",
                  ],
                  ports: [{ name: "https", containerPort: 10250 }],
                  readinessProbe: { httpGet: { path: "/readyz", port: "https", scheme: "HTTPS" }, periodSeconds: 2 },
                  livenessProbe: {
                    httpGet: { path: "/livez", port: "https", scheme: "HTTPS" },
                    initialDelaySeconds: 30,
                    periodSeconds: 10,
                  },
                  resources: { requests: { cpu: "50m", memory: "70Mi" } },
                  securityContext: restricted,
                  volumeMounts: [{ name: "serving", mountPath: "/etc/metrics-server", readOnly: true }],
                },
              ],
              volumes: [{ name: "serving", secret: { secretName: "metrics-server-serving" } }],
            },
          },
        },
      },
      access.options(this, [serviceAccount, serving, ...nodes]),
    );
  }
}
