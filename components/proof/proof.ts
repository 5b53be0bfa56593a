import { remote } from "@pulumi/command";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../access/access.ts";
import { barrier } from "../barrier.ts";
import { bareScript } from "../host/bare.ts";
import { rootShell, wholeScript } from "../host/shipment.ts";
import { imageRefs } from "../images.ts";
import type { Node } from "../node/node.ts";
import { type ClusterSpec, takesAnyPod } from "../spec.ts";
import { hostname, spreadOver, spreadOverComing } from "../spread.ts";

const probe = bareScript(new URL("./probe.sh", import.meta.url));
const namespace = "plainkube-proof";
const labels = { app: "proof" };

const renderProbe = (address: string, workers: readonly string[], byName: boolean): string =>
  [`url=http://${address}`, `nodes='${workers.join(" ")}'`, `by_name=${byName}`, "seconds=90", probe].join("\n");

export interface ProofArgs {
  readonly spec: ClusterSpec;
  readonly access: Access;
  readonly nodes: readonly Node[];
}

/**
 * The proof that the cluster works: a Deployment over all workers, a Service, and on each host a probe that passes only
 * when pods of every worker answer at the Service's address and, where there is DNS, a pod reaches it by its name.
 */
export class Proof extends pulumi.ComponentResource {
  /** Cluster IP and port of the Service. */
  readonly address: pulumi.Output<string>;
  /** What the Service answered, by the host that asked. */
  readonly answers: pulumi.Output<Record<string, string>>;

  constructor(name: string, args: ProofArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:proof:Proof", name, {}, opts);
    const { spec, access, nodes } = args;
    const hasDns = spec.system === "cluster";
    const asked = spec.hosts.filter(takesAnyPod).map((h) => h.name);
    const space = new kubernetes.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: namespace } },
      access.options(this),
    );
    const names = [{ matchExpressions: [{ key: hostname, operator: "In", values: asked }] }];
    const coming = spreadOverComing(spec, asked.length, labels);
    // Else the nodes are registered first, and count by name.
    const affinity = {
      nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: names } },
    };
    const deployment = new kubernetes.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata: { name: "proof", namespace, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: {
          replicas: spec.proof.replicas,
          selector: { matchLabels: labels },
          template: {
            metadata: { labels },
            spec: {
              ...(!coming && { affinity }),
              automountServiceAccountToken: false,
              // A question that was lost while the network came up is asked again after a second, not after five, and for no
              // other name first.
              ...(hasDns
                ? {
                    dnsConfig: {
                      options: [
                        { name: "timeout", value: "1" },
                        { name: "ndots", value: "1" },
                      ],
                    },
                  }
                : { dnsPolicy: "Default" }),
              terminationGracePeriodSeconds: 5,
              securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: "RuntimeDefault" } },
              topologySpreadConstraints: [coming ?? spreadOver(spec, labels)],
              containers: [
                {
                  name: "workload",
                  image: imageRefs(spec.versions).workload,
                  imagePullPolicy: "IfNotPresent",
                  ports: [{ containerPort: 8080 }],
                  env: [
                    ...(hasDns
                      ? [{ name: "PEER_URL", value: `http://proof.${namespace}.svc.${spec.network.dnsDomain}` }]
                      : []),
                    ...Object.entries({
                      POD_NAME: "metadata.name",
                      POD_NAMESPACE: "metadata.namespace",
                      POD_IP: "status.podIP",
                      NODE_NAME: "spec.nodeName",
                    }).map(([variable, fieldPath]) => ({ name: variable, valueFrom: { fieldRef: { fieldPath } } })),
                  ],
                  readinessProbe: { httpGet: { path: "/healthz", port: 8080 }, periodSeconds: 1 },
                  resources: { requests: { cpu: "10m", memory: "16Mi" }, limits: { memory: "64Mi" } },
                  securityContext: {
                    allowPrivilegeEscalation: false,
                    capabilities: { drop: ["ALL"] },
                    readOnlyRootFilesystem: true,
                  },
                },
              ],
            },
          },
        },
      },
      access.options(this, [space, ...(coming ? [] : nodes)]),
    );
    const service = new kubernetes.core.v1.Service(
      `${name}-service`,
      {
        metadata: { name: "proof", namespace, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
      },
      access.options(this, [space]),
    );
    this.address = service.spec.clusterIP;
    const joined = barrier(`${name}-nodes`, [...nodes], { parent: this });
    const probes = nodes.map(({ host, fingerprint }) => {
      const probed = new remote.Command(
        `${name}-${host.spec.name}`,
        {
          connection: host.connection,
          // A change of what the proof rests on asks it again.
          create: rootShell(fingerprint),
          stdin: this.address.apply((address) => wholeScript(renderProbe(address, asked, hasDns))),
          addPreviousOutputInEnv: false,
        },
        { parent: this, deletedWith: host.root, dependsOn: [deployment, service, ...joined] },
      );
      return [host.spec.name, probed.stdout] as const;
    });
    this.answers = pulumi.output(Object.fromEntries(probes));
  }
}
