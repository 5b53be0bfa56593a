import { RandomId } from "@pulumi/random";
import { Access } from "./components/access/access.ts";
import { Addons } from "./components/addons/addons.ts";
import { Binaries } from "./components/binaries/binaries.ts";
import { loadSpec } from "./components/config.ts";
import { ControlPlane } from "./components/control-plane/control-plane.ts";
import { Dns } from "./components/dns/dns.ts";
import { Host } from "./components/host/host.ts";
import { planOf } from "./components/host/plan.ts";
import { Node } from "./components/node/node.ts";
import { Pki } from "./components/pki/pki.ts";
import { Proof } from "./components/proof/proof.ts";

// The stack's configuration, checked as a whole before the first resource.
const spec = await loadSpec();

// Hosts that are ready to take their roles; destroying them gives them back.
const { hex: cluster } = new RandomId("cluster", { byteLength: 4 });
const hosts = spec.hosts.map((host) => new Host(host.name, { spec, host, cluster, ...planOf(spec, host) }));

// Every key and certificate.
const pki = new Pki("pki", { spec });

// Verified binaries on every host.
const ready = hosts.map((host) => ({
  host,
  binaries: new Binaries(`${host.spec.name}-binaries`, { spec, host, stages: planOf(spec, host.spec).stages }),
}));

// etcd, API server, controller manager, scheduler.
const [controlPlane] = ready
  .filter(({ host }) => host.spec.isControlPlane)
  .map((on) => new ControlPlane(`${on.host.spec.name}-control-plane`, { spec, pki, ...on }));
if (!controlPlane) throw new Error("no control plane: the configuration's check let it through");

// Container runtime, kubelet and the network, as soon as the API answers.
const nodes = ready.map((on) => new Node(on.host.spec.name, { spec, pki, apiReady: controlPlane.ready, ...on }));

// The administrator's access, and what runs inside the cluster.
const access = new Access("access", { spec, pki, controlPlane });
new Dns("dns", { spec, access, nodes });
new Addons("addons", { spec, pki, access, nodes });

// A Deployment over all workers behind a Service that answers from each host.
const proof = new Proof("proof", { spec, access, nodes });

export const kubeconfig = access.kubeconfig;
export const apiEndpoint = spec.apiEndpoint;
export const serviceAddress = proof.address;
export const serviceAnswers = proof.answers;
export const versions = spec.versions;
export const certificateExpiry = pki.firstExpiry;
