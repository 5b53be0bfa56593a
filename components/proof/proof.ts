import { readFileSync } from "node:fs";
import { remote } from "@pulumi/command";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../access/access.ts";
import { barrier } from "../barrier.ts";
import { rootShell, wholeScript } from "../host/shipment.ts";
import { imageRefs } from "../images.ts";
import type { Node } from "../node/node.ts";
import { type ClusterSpec, takesAnyPod } from "../spec.ts";
import { atLeast } from "../versions.ts";

const probe = readFileSync(new URL("./probe.sh", import.meta.url), "utf8");
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
    const hostname = "kubernetes.io/hostname";
    const names = [{ matchExpressions: [{ key: hostname, operator: "In", values: asked }] }];
    // Pods may be made before all nodes have joined; they wait for them. Old schedulers do not look again when a node's
    // taint goes, unless that very node had refused the pod: there the nodes are registered first, and count by name.
    // Pods of the Deployment's earlier form do not count: where they stood when they go, none of the new ones would.
    const spread = atLeast(spec.versions.kubernetes, "1.34")
      ? {
          after: [space],
          constraint: { minDomains: asked.length, nodeTaintsPolicy: "Honor", matchLabelKeys: ["pod-template-hash"] },
        }
      : {
          after: [space, ...nodes],
          pod: {
            affinity: {
              nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: names } },
            },
          },
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
              ...spread.pod,
              automountServiceAccountToken: false,
              ...(!hasDns && { dnsPolicy: "Default" }),
              terminationGracePeriodSeconds: 5,
              securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: "RuntimeDefault" } },
              topologySpreadConstraints: [
                {
                  maxSkew: 1,
                  topologyKey: hostname,
                  whenUnsatisfiable: "DoNotSchedule",
                  ...spread.constraint,
                  labelSelector: { matchLabels: labels },
                },
              ],
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
      access.options(this, spread.after),
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
    this.registerOutputs({});
  }
}
