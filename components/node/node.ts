import { createHash } from "node:crypto";
import { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../access/access.ts";
import { kubeconfigOf } from "../access/kubeconfig.ts";
import type { Binaries } from "../binaries/binaries.ts";
import { linkOf } from "../binaries/stages.ts";
import { renderCorefile } from "../dns/render.ts";
import { bareScript } from "../host/bare.ts";
import { type Host, type Phase, Shipment } from "../host/host.ts";
import { removeRuntime } from "../host/script.ts";
import { concat, rootShell, shellWord, wholeScript } from "../host/shipment.ts";
import { kubeletFiles, renderKubelet } from "../kubelet/render.ts";
import { minimalNode } from "../minimal/phases.ts";
import { MinimalPki } from "../minimal/pki.ts";
import { renderMinimalRuntime } from "../minimal/render.ts";
import { flannelUser } from "../network/flannel.ts";
import { flannelKubeconfig, proxyKubeconfig, renderNetwork } from "../network/render.ts";
import { Pki } from "../pki/pki.ts";
import { renderRuntime } from "../runtime/render.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";

const leave = bareScript(new URL("./leave.sh", import.meta.url));

export interface NodeArgs {
  readonly spec: ClusterSpec;
  readonly host: Host;
  readonly pki: Pki | MinimalPki;
  readonly binaries: Binaries;
  readonly access: Access;
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
    const { spec, host, pki, binaries, access } = args;
    this.host = host;
    const { isWorker } = host.spec;
    const runtime = pki instanceof MinimalPki ? renderMinimalRuntime(spec, host.spec) : renderRuntime(spec);
    const node = pki instanceof MinimalPki ? minimalNode(spec, host.spec, pki) : clusterNode(spec, host.spec, pki);
    const rests = JSON.stringify([isWorker ? runtime.files : [], node.payload.files, renderCorefile(spec)]);
    this.fingerprint = createHash("sha256").update(rests).digest("hex").slice(0, 12);
    const network = binaries.stage("network");
    const before = isWorker
      ? [
          new Shipment(
            `${name}-runtime`,
            {
              host,
              phase: "runtime",
              payload: runtime,
              pins: binaries.stage("runtime").pins,
              afterwards: removeRuntime(host.layout),
              after: [binaries.stage("runtime").done],
            },
            { parent: this },
          ).applied,
        ]
      : [];
    new Shipment(
      `${name}-node`,
      {
        host,
        phase: "node",
        ...node,
        pins: [
          ...network.pins,
          ...(isWorker ? [...binaries.stage("kubelet").pins, ...binaries.stage("runtime").pins] : []),
        ],
        // A kubelet that starts before the API is ready backs off.
        after: [network.done, ...access.ready, ...before],
      },
      { parent: this },
    );
    const { controlPlane } = access;
    if (pki instanceof Pki && isWorker && host !== controlPlane) {
      new remote.Command(
        `${name}-leave`,
        {
          connection: controlPlane.connection,
          // Nothing to do while the host is one of the cluster's: no session is opened then.
          delete: rootShell("leave"),
          stdin: pulumi.secret(leaveScript(spec, name, linkOf("kubectl", controlPlane.layout), pki)),
          addPreviousOutputInEnv: false,
        },
        {
          parent: this,
          // Before the reset of the host, and not at all when the whole cluster goes.
          dependsOn: [host.root, ...access.ready],
          deletedWith: controlPlane.root,
          customTimeouts: { delete: "5m" },
        },
      );
    }
  }
}

/** Takes a node out of the cluster, on the control plane's host. */
const leaveScript = (spec: ClusterSpec, node: string, kubectl: string, pki: Pki): pulumi.Output<string> =>
  pulumi.output(kubeconfigOf(spec, "kubernetes-admin", pki.authorities.kubernetes, pki.cluster.admin)).apply((text) => {
    const facts = { node, kubectl, kubeconfig: Buffer.from(text).toString("base64") };
    const assignments = Object.entries(facts).map(([key, value]) => `${key}=${shellWord(value)}`);
    return wholeScript([...assignments, leave].join("\n"));
  });

function networkSecrets(spec: ClusterSpec, pki: Pki) {
  const ca = pki.authorities.kubernetes;
  const flannel = () => kubeconfigOf(spec, flannelUser, ca, pki.optional("flannel"));
  return [
    { path: proxyKubeconfig, content: kubeconfigOf(spec, "system:kube-proxy", ca, pki.cluster.proxy) },
    ...(spec.network.podNetwork === "flannel" ? [{ path: flannelKubeconfig, content: flannel() }] : []),
  ];
}

/** What a host gets for pods and Services, keys included. */
function clusterNode(spec: ClusterSpec, host: HostSpec, pki: Pki): Phase {
  return {
    payload: concat(...(host.isWorker ? [renderKubelet(spec, host)] : []), renderNetwork(spec, host)),
    secrets: [...(host.isWorker ? kubeletSecrets(spec, host, pki) : []), ...networkSecrets(spec, pki)],
  };
}

function kubeletSecrets(spec: ClusterSpec, host: HostSpec, pki: Pki) {
  const ca = pki.authorities.kubernetes;
  const { client, serving } = pki.node(host.name);
  const { clientCa, issued, bootstrapped } = kubeletFiles;
  const kubeconfig = kubeconfigOf(spec, `system:node:${host.name}`, ca, client);
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
