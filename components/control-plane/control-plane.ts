import * as pulumi from "@pulumi/pulumi";
import { kubeconfigOf } from "../access/kubeconfig.ts";
import type { Binaries } from "../binaries/binaries.ts";
import { etcdPki } from "../etcd/render.ts";
import { type Host, type Phase, Shipment } from "../host/host.ts";
import { minimalControllers, minimalControlPlane } from "../minimal/phases.ts";
import { MinimalPki } from "../minimal/pki.ts";
import { paths } from "../paths.ts";
import type { KeyPair, Pki } from "../pki/pki.ts";
import type { ClusterSpec } from "../spec.ts";
import { parts } from "../system.ts";
import { encryptionFile, renderEncryptionFile } from "./encryption.ts";
import { kubeconfigs, renderControllers, renderControlPlane } from "./render.ts";

export interface ControlPlaneArgs {
  readonly spec: ClusterSpec;
  readonly host: Host;
  readonly pki: Pki | MinimalPki;
  readonly binaries: Binaries;
}

/**
 * etcd, kube-apiserver and, where the system has them, the controllers on one host. These come in a phase of their own, as
 * nodes join as soon as the API answers.
 */
export class ControlPlane extends pulumi.ComponentResource {
  readonly host: Host;
  /** Ends when the API is ready. */
  readonly ready: pulumi.Resource;
  /** Ends when the controllers work, too, where the system has them. */
  readonly settled: pulumi.Resource;

  constructor(name: string, args: ControlPlaneArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:control-plane:ControlPlane", name, {}, opts);
    const { spec, host, pki } = args;
    const { pins, done } = args.binaries.stage("control-plane");
    this.host = host;
    const shipment = new Shipment(
      `${name}-shipment`,
      {
        host,
        phase: "control-plane",
        ...(pki instanceof MinimalPki ? minimalControlPlane(spec, pki) : clusterControlPlane(spec, pki)),
        pins,
        after: [done],
      },
      { parent: this },
    );
    this.ready = shipment.applied;
    if (parts[spec.system].has("controllers")) {
      const controllers = args.binaries.stage("controllers");
      this.settled = new Shipment(
        `${name}-controllers`,
        {
          host,
          phase: "controllers",
          ...(pki instanceof MinimalPki ? minimalControllers(spec, pki) : clusterControllers(spec, pki)),
          pins: controllers.pins,
          after: [controllers.done, this.ready],
        },
        { parent: this },
      ).applied;
    } else this.settled = this.ready;
  }
}

const pem = (path: string, content: pulumi.Input<string>) => ({ path: `${paths.pki}/${path}`, content });
const pair = (path: string, { cert, key }: KeyPair) => [pem(`${path}.crt`, cert), pem(`${path}.key`, key)];

/** What etcd and the API server get, and every key of the host: systemd hides from a unit what is there when it starts. */
function clusterControlPlane(spec: ClusterSpec, pki: Pki): Phase {
  const { kubernetes: ca, etcd: etcdCa, "front-proxy": frontProxyCa } = pki.authorities;
  const has = parts[spec.system];
  return {
    payload: renderControlPlane(spec),
    secrets: [
      { path: etcdPki.ca, content: etcdCa.cert, mode: "0644" },
      ...pair("etcd/server", pki.cluster["etcd-server"]),
      ...pair("etcd/peer", pki.cluster["etcd-peer"]),
      ...pair("apiserver-etcd-client", pki.cluster["apiserver-etcd-client"]),
      { ...pem("ca.crt", ca.cert), mode: "0644" },
      ...pair("apiserver", pki.cluster.apiserver),
      ...(has.has("nodes") ? pair("apiserver-kubelet-client", pki.cluster["apiserver-kubelet-client"]) : []),
      { ...pem("front-proxy-ca.crt", frontProxyCa.cert), mode: "0644" },
      ...pair("front-proxy-client", pki.cluster["front-proxy-client"]),
      pem("sa.pub", pki.serviceAccount.publicKey),
      pem("sa.key", pki.serviceAccount.key),
      ...(has.has("controllers") ? controllersSecrets(spec, pki) : []),
      ...encryptionKeys(spec, pki),
      ...administratorsKubeconfigs(spec, pki),
    ],
  };
}

/** Keys that the controllers read. */
function controllersSecrets(spec: ClusterSpec, pki: Pki) {
  const ca = pki.authorities.kubernetes;
  return [
    pem("ca.key", ca.key),
    ...(spec.kubelet.certificates === "bootstrapped"
      ? pair("kubelet-serving-approver", pki.optional("kubelet-serving-approver"))
      : []),
    {
      path: kubeconfigs.controllerManager,
      content: kubeconfigOf(spec, "system:kube-controller-manager", ca, pki.cluster["controller-manager"]),
    },
    {
      path: kubeconfigs.scheduler,
      content: kubeconfigOf(spec, "system:kube-scheduler", ca, pki.cluster.scheduler),
    },
  ];
}

/** What the controllers get; their keys are there already. */
function clusterControllers(spec: ClusterSpec, pki: Pki): Phase {
  const { kubernetes: ca, "front-proxy": frontProxyCa } = pki.authorities;
  return {
    payload: renderControllers(spec),
    rests: [
      ca.cert,
      frontProxyCa.cert,
      pki.serviceAccount.key,
      ...controllersSecrets(spec, pki).map(({ content }) => content),
    ],
  };
}

/** The file of the keys that encrypt what etcd gets, if there are any. */
function encryptionKeys(spec: ClusterSpec, { encryptionKeys: keys }: Pki) {
  if (keys.length === 0) return [];
  const content = pulumi.all([...keys]).apply((all) => renderEncryptionFile(spec, all));
  return [{ path: encryptionFile, content: pulumi.secret(content) }];
}

/** For work on the host itself: the API as every client reaches it, and the aggregation layer of this host's server. */
function administratorsKubeconfigs(spec: ClusterSpec, pki: Pki) {
  if (!spec.apiServer.hostKubeconfigs) return [];
  const kubeconfig = (server?: string) =>
    kubeconfigOf(spec, "kubernetes-admin", pki.authorities.kubernetes, pki.cluster.admin, server);
  return [
    { path: kubeconfigs.admin, content: kubeconfig() },
    { path: kubeconfigs.aggregator, content: kubeconfig("https://127.0.0.1:6443") },
  ];
}
