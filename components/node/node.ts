import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import { kubeconfigOf } from "../access/kubeconfig.ts";
import type { Binaries } from "../binaries/binaries.ts";
import { renderCorefile } from "../dns/render.ts";
import { type Host, Shipment } from "../host/host.ts";
import { concat } from "../host/shipment.ts";
import { kubeletFiles, renderKubelet } from "../kubelet/render.ts";
import { proxyKubeconfig, renderNetwork } from "../network/render.ts";
import type { Pki } from "../pki/pki.ts";
import { renderRuntime } from "../runtime/render.ts";
import type { ClusterSpec } from "../spec.ts";

export interface NodeArgs {
  readonly spec: ClusterSpec;
  readonly host: Host;
  readonly pki: Pki;
  readonly binaries: Binaries;
  /** Ends when the API is ready: a kubelet that starts earlier backs off. */
  readonly apiReady: pulumi.Resource;
}

/**
 * What every host runs for the pod and Service network, and on a worker the container runtime and the kubelet. The
 * runtime starts with its images before the API is there; the rest follows when the API answers.
 */
export class Node extends pulumi.ComponentResource {
  readonly host: Host;
  /** Changes with every file that the node's pods and Services rest on. */
  readonly fingerprint: string;

  constructor(name: string, args: NodeArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:node:Node", name, {}, opts);
    const { spec, host, pki, binaries, apiReady } = args;
    this.host = host;
    const { isWorker } = host.spec;
    const runtime = renderRuntime(spec);
    const node = concat(...(isWorker ? [renderKubelet(spec, host.spec)] : []), renderNetwork(spec, host.spec));
    const rests = JSON.stringify([isWorker ? runtime.files : [], node.files, renderCorefile(spec)]);
    this.fingerprint = createHash("sha256").update(rests).digest("hex").slice(0, 12);
    const network = binaries.stage("network");
    const before = isWorker
      ? [
          new Shipment(
            `${name}-runtime`,
            { host, phase: "runtime", payload: runtime, pins: binaries.stage("runtime").pins },
            { parent: this, dependsOn: [binaries.stage("runtime").done] },
          ).applied,
        ]
      : [];
    const ca = pki.authorities.kubernetes;
    const proxy = {
      path: proxyKubeconfig,
      content: kubeconfigOf(spec, "system:kube-proxy", ca, pki.cluster.proxy),
    };
    new Shipment(
      `${name}-node`,
      {
        host,
        phase: "node",
        payload: node,
        secrets: isWorker ? [...kubeletSecrets(args), proxy] : [proxy],
        pins: isWorker ? [...network.pins, ...binaries.stage("runtime").pins] : network.pins,
      },
      { parent: this, dependsOn: [network.done, apiReady, ...before] },
    );
    this.registerOutputs({});
  }
}

function kubeletSecrets({ spec, host, pki }: NodeArgs) {
  const ca = pki.authorities.kubernetes;
  const { client, serving } = pki.node(host.spec.name);
  const { clientCa, issued, bootstrapped } = kubeletFiles;
  const kubeconfig = kubeconfigOf(spec, `system:node:${host.spec.name}`, ca, client);
  return [
    { path: serving ? issued.kubeconfig : bootstrapped.bootstrapKubeconfig, content: kubeconfig },
    { path: clientCa, content: ca.cert, mode: "0644" },
    ...(serving
      ? [
          { path: issued.servingCert, content: serving.cert },
          { path: issued.servingKey, content: serving.key },
        ]
      : []),
  ];
}
