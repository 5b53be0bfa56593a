import { linkOf } from "../binaries/stages.ts";
import { podSubnet } from "../minimal/render.ts";
import { podMtu, vxlanOverhead } from "../network/mtu.ts";
import { type Layout, layoutOf } from "../paths.ts";
import { controlPlanePorts, workerPorts } from "../ports.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";
import { parts } from "../system.ts";
import { bareScript } from "./bare.ts";
import { packed } from "./pack.ts";
import type { HostPlan } from "./plan.ts";
import { shellWord, wholeScript } from "./shipment.ts";

const script = (name: string): string => bareScript(new URL(`./${name}`, import.meta.url));
const givenBack = script("given-back.sh");
const preflight = script("preflight.sh");
const containers = `${script("netfilter.sh")}\n${script("containers.sh")}`;
/** How keys of Secrets are made: another number, and those of before are gone. */
const secretKeys = 2;
/** What a host's first argument may ask for. */
const phases = {
  preflight,
  claim: `${preflight}\n${script("claim.sh")}`,
  reset: `${containers}\n${script("reset.sh")}`,
} as const;
type HostPhase = keyof typeof phases;
const packedPhases = new Map<HostPhase, string>();
/** Packed once for all hosts. */
function packedPhase(phase: HostPhase): string {
  const text = packedPhases.get(phase) ?? packed(`${givenBack}\n${phases[phase]}`);
  packedPhases.set(phase, text);
  return text;
}

/** Ends the containers of a host that keeps other roles, when the runtime's units are gone. */
export const removeRuntime = ({ containerdRun, containerdRoot }: Layout): string =>
  [
    `containerd_run=${shellWord(containerdRun)} containerd_root=${shellWord(containerdRoot)}`,
    containers,
    "remove_runtime",
  ].join("\n");

export interface HostScriptArgs extends Omit<HostPlan, "stages"> {
  readonly spec: ClusterSpec;
  readonly host: HostSpec;
}

/** Ports that other hosts, pods or kubectl reach; the rest are for the host itself. */
function openPorts({ network, system }: ClusterSpec, { isControlPlane, isWorker }: HostSpec): string[] {
  const [apiServer, kubelet] = [controlPlanePorts.at(-1), workerPorts.at(-1)];
  return [
    ...(isControlPlane ? [`${apiServer}/tcp`] : []),
    ...(isWorker ? [`${kubelet}/tcp`] : []),
    ...(parts[system].has("nodes") && network.podNetwork === "flannel" ? [`${network.flannel.port}/udp`] : []),
  ];
}

/**
 * The script that looks at a host, claims it or gives it back, as its first argument says: preflight.sh, claim.sh or reset.sh, with
 * what they have to know.
 */
export function hostScript(args: HostScriptArgs, cluster: string, ...which: readonly HostPhase[]): string {
  const { spec, host } = args;
  const { network, system } = spec;
  const layout = layoutOf(spec);
  const fixed = [
    `podCidr ${network.podCidr}/${network.nodeCidrMaskSize} serviceCidr ${network.serviceCidr}`,
    // etcd's data are there.
    `controlPlane ${spec.controlPlane.name}@${spec.controlPlane.address}`,
    ...(system === "cluster" ? [] : [`system ${system}`]),
    // By the host's place in the list; the bridge keeps it.
    ...(system === "minimal" ? [`podSubnet ${podSubnet(spec, host)}`] : []),
  ].join(" ");
  // What was stored by the higher one, the lower cannot read.
  const rising = `encryption.generation=${spec.apiServer.encryption.generation} encryption.keys=${secretKeys} versions.kubernetes=${spec.versions.kubernetes}`;
  const hasVxlan = network.podNetwork === "flannel";
  const resolver = host.isWorker && parts[system].has("dns") && !("resolvConf" in spec.overrides.kubelet.config);
  const facts = {
    name: host.name,
    owner: `${spec.clusterName}-${cluster}/${host.name}@${host.address}`,
    fixed,
    rising,
    roles: host.roles.join(" "),
    ports: args.ports.join(" "),
    udp_ports: args.udpPorts.join(" "),
    open_ports: openPorts(spec, host).join(" "),
    netfilter: parts[system].has("nodes") ? network.kubeProxyMode : "none",
    vxlan_mtu: hasVxlan ? String(vxlanOverhead + podMtu(spec)) : "",
    vxlan_device: hasVxlan ? `flannel.${network.flannel.vni}` : "",
    vxlan_port: hasVxlan ? String(network.flannel.port) : "",
    address: host.address,
    units: args.units.join(" "),
    arch: "amd64",
    cgroup_v1: String(spec.runtime.allowCgroupV1),
    need_mib: String(args.needMib),
    need_lib_mib: String(args.needLibMib),
    service_address: spec.apiServiceAddress,
    pod_cidr: network.podCidr,
    service_cidr: network.serviceCidr,
    claimed: layout.claimed.join(" "),
    ctr: linkOf("ctr", layout),
    containerd_run: layout.containerdRun,
    containerd_root: layout.containerdRoot,
    named_by_host: String(system === "minimal"),
    resolver: String(resolver),
    ...(args.volumes !== undefined && { volumes: args.volumes }),
  };
  const assignments = Object.entries(facts).map(([key, value]) => `${key}=${shellWord(value)}`);
  const cases = which.flatMap((phase) => [`${phase})`, packedPhase(phase), ";;"]);
  return wholeScript([...assignments, "case $1 in", ...cases, "esac"].join("\n"));
}
