import { readFileSync } from "node:fs";
import { fillConfined, strongCiphers } from "../confined.ts";
import type { Payload } from "../host/shipment.ts";
import { binary, paths } from "../paths.ts";
import { merge, yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";
import { atLeast } from "../versions.ts";

const unit = fillConfined(readFileSync(new URL("./etcd.service", import.meta.url), "utf8"));

/** Keys and certificates of etcd on its host. */
export const etcdPki = {
  ca: `${paths.pki}/etcd/ca.crt`,
  serverCert: `${paths.pki}/etcd/server.crt`,
  serverKey: `${paths.pki}/etcd/server.key`,
  peerCert: `${paths.pki}/etcd/peer.crt`,
  peerKey: `${paths.pki}/etcd/peer.key`,
} as const;

/** etcd: one member beside the API server, mutual TLS for clients and peers. */
export function renderEtcd(spec: ClusterSpec): Payload {
  const { name, address } = spec.controlPlane;
  const is36 = atLeast(spec.versions.etcd, "3.6");
  const config = {
    name,
    "data-dir": paths.etcd,
    "listen-client-urls": `https://127.0.0.1:2379,https://${address}:2379`,
    "advertise-client-urls": `https://${address}:2379`,
    "listen-peer-urls": `https://${address}:2380`,
    "initial-advertise-peer-urls": `https://${address}:2380`,
    "initial-cluster": `${name}=https://${address}:2380`,
    "initial-cluster-token": spec.clusterName,
    "initial-cluster-state": "new",
    "listen-metrics-urls": "http://127.0.0.1:2381",
    "client-transport-security": {
      "cert-file": etcdPki.serverCert,
      "key-file": etcdPki.serverKey,
      "client-cert-auth": true,
      "trusted-ca-file": etcdPki.ca,
    },
    "peer-transport-security": {
      "cert-file": etcdPki.peerCert,
      "key-file": etcdPki.peerKey,
      "client-cert-auth": true,
      "trusted-ca-file": etcdPki.ca,
    },
    // One member waits for nobody's answer: it need not wait a second at each start to find that it leads.
    "heartbeat-interval": 20,
    "election-timeout": 200,
    // The gateway would present the serving certificate as a client's.
    "enable-grpc-gateway": false,
    "cipher-suites": strongCiphers,
    // 3.5 knows no other minimum.
    ...(is36 && { "tls-min-version": "TLS1.2" }),
    "log-level": "warn",
  };
  const file = `${paths.etc}/etcd.yaml`;
  return {
    files: [
      { path: `${paths.units}/etcd.service`, content: unit },
      { path: file, content: yaml(merge(config, spec.overrides.etcd.config)) },
    ],
    units: [
      {
        name: "etcd.service",
        inputs: [binary("etcd"), file, ...Object.values(etcdPki)],
        probe: `curl -sf http://127.0.0.1:2381/${is36 ? "readyz" : "health"}`,
      },
    ],
  };
}
