import * as pulumi from "@pulumi/pulumi";
import { kubeconfigOf } from "../access/kubeconfig.ts";
import type { Binaries } from "../binaries/binaries.ts";
import { etcdPki, renderEtcd } from "../etcd/render.ts";
import { type Host, Shipment } from "../host/host.ts";
import { concat } from "../host/shipment.ts";
import { paths } from "../paths.ts";
import type { KeyPair, Pki } from "../pki/pki.ts";
import type { ClusterSpec } from "../spec.ts";
import { kubeconfigs, renderApiServer, renderApprover, renderControllerManager, renderScheduler } from "./render.ts";

export interface ControlPlaneArgs {
  readonly spec: ClusterSpec;
  readonly host: Host;
  readonly pki: Pki;
  readonly binaries: Binaries;
}

/** etcd, kube-apiserver, kube-controller-manager and kube-scheduler on one host; the API answers when it is done. */
export class ControlPlane extends pulumi.ComponentResource {
  readonly host: Host;
  /** Ends when the API is ready. */
  readonly ready: pulumi.Resource;

  constructor(name: string, args: ControlPlaneArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:control-plane:ControlPlane", name, {}, opts);
    const { spec, host, pki } = args;
    const { pins, done } = args.binaries.stage("control-plane");
    this.host = host;
    const { kubernetes: ca, etcd: etcdCa, "front-proxy": frontProxyCa } = pki.authorities;
    const pem = (path: string, content: pulumi.Input<string>) => ({ path: `${paths.pki}/${path}`, content });
    const pair = (path: string, { cert, key }: KeyPair) => [pem(`${path}.crt`, cert), pem(`${path}.key`, key)];
    const shipment = new Shipment(
      `${name}-shipment`,
      {
        host,
        phase: "control-plane",
        payload: concat(
          renderEtcd(spec),
          renderApiServer(spec),
          renderControllerManager(spec),
          renderScheduler(spec),
          renderApprover(spec),
        ),
        secrets: [
          { path: etcdPki.ca, content: etcdCa.cert, mode: "0644" },
          ...pair("etcd/server", pki.cluster["etcd-server"]),
          ...pair("etcd/peer", pki.cluster["etcd-peer"]),
          ...pair("apiserver-etcd-client", pki.cluster["apiserver-etcd-client"]),
          { ...pem("ca.crt", ca.cert), mode: "0644" },
          pem("ca.key", ca.key),
          ...pair("apiserver", pki.cluster.apiserver),
          ...pair("apiserver-kubelet-client", pki.cluster["apiserver-kubelet-client"]),
          { ...pem("front-proxy-ca.crt", frontProxyCa.cert), mode: "0644" },
          ...pair("front-proxy-client", pki.cluster["front-proxy-client"]),
          ...(spec.kubelet.certificates === "bootstrapped"
            ? pair("kubelet-serving-approver", pki.optional("kubelet-serving-approver"))
            : []),
          pem("sa.pub", pki.serviceAccount.publicKey),
          pem("sa.key", pki.serviceAccount.key),
          {
            path: kubeconfigs.controllerManager,
            content: kubeconfigOf(spec, "system:kube-controller-manager", ca, pki.cluster["controller-manager"]),
          },
          {
            path: kubeconfigs.scheduler,
            content: kubeconfigOf(spec, "system:kube-scheduler", ca, pki.cluster.scheduler),
          },
        ],
        pins,
      },
      { parent: this, dependsOn: [done] },
    );
    this.ready = shipment.applied;
    this.registerOutputs({});
  }
}
