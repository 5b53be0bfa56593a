import { RandomId } from "@pulumi/random";
import { Access } from "./components/access/access.ts";
import { Addons } from "./components/addons/addons.ts";
import { Binaries } from "./components/binaries/binaries.ts";
import { loadSpec } from "./components/config.ts";
import { ControlPlane } from "./components/control-plane/control-plane.ts";
import { Dns } from "./components/dns/dns.ts";
import { claimAll, Host } from "./components/host/host.ts";
import { planOf } from "./components/host/plan.ts";
import { MinimalPki } from "./components/minimal/pki.ts";
import { Node } from "./components/node/node.ts";
import { Pki } from "./components/pki/pki.ts";
import { Proof } from "./components/proof/proof.ts";
import { parts } from "./components/system.ts";
import { Users } from "./components/users/users.ts";

// The stack's configuration, checked as a whole before the first resource, and the parts of its system.
const spec = await loadSpec();
const system = parts[spec.system];

// Hosts that are ready to take their roles, all before the first is changed, with verified binaries; destroying them gives them back.
const { hex: cluster } = new RandomId("cluster", { byteLength: 4 });
const hosts = spec.hosts.map((host) => new Host(host.name, { spec, host, cluster, ...planOf(spec, host) }));
const ready = claimAll(hosts).map((host) => ({
  host,
  binaries: new Binaries(`${host.spec.name}-binaries`, { spec, host, stages: planOf(spec, host.spec).stages }),
}));

// Every key and certificate.
const pki = spec.system === "minimal" ? new MinimalPki("pki", { spec, hosts }) : new Pki("pki", { spec, hosts });

// etcd, API server, and the controllers.
const [controlPlane] = ready
  .filter(({ host }) => host.spec.isControlPlane)
  .map((on) => new ControlPlane(`${on.host.spec.name}-control-plane`, { spec, pki, ...on }));
if (!controlPlane) throw new Error("no control plane: the configuration's check let it through");

// The ways in, and who may do what.
const access = new Access("access", { spec, pki, controlPlane });

// Container runtime, kubelet and the network, as soon as the API answers.
const joining = system.has("nodes") ? ready : [];
const nodes = joining.map((on) => new Node(on.host.spec.name, { spec, pki, access, ...on }));

// What users may do, and what runs inside the cluster.
const users = pki instanceof Pki ? new Users("users", { spec, pki, access, controlPlane }) : undefined;
if (system.has("dns")) new Dns("dns", { spec, access, nodes });
if (pki instanceof Pki) new Addons("addons", { spec, pki, access, nodes });

// A Deployment over all workers behind a Service that answers from each host.
const proof = system.has("proof") ? new Proof("proof", { spec, access, nodes }) : undefined;

export default {
  kubeconfig: access.kubeconfig,
  apiEndpoint: spec.apiEndpoint,
  ...users?.outputs,
  ...(proof && { serviceAddress: proof.address, serviceAnswers: proof.answers }),
  versions: spec.versions,
  certificateExpiry: pki.firstExpiry,
};
