import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { remote, type types } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { Pin } from "../binaries/pins.ts";
import { linkOf } from "../binaries/stages.ts";
import { podSubnet } from "../minimal/render.ts";
import { podMtu, vxlanOverhead } from "../network/mtu.ts";
import { type Layout, layoutOf } from "../paths.ts";
import type { ClusterSpec, Endpoint, HostSpec } from "../spec.ts";
import { parts } from "../system.ts";
import { type HostFile, type Payload, phaseScript, rootShell, shellWord, type Unit, wholeScript } from "./shipment.ts";

const script = (name: string): string => readFileSync(new URL(`./${name}`, import.meta.url), "utf8").trimEnd();
const preflight = `${script("given-back.sh")}\n${script("preflight.sh")}`;
const containers = `${script("netfilter.sh")}\n${script("containers.sh")}`;
const reset = `${script("given-back.sh")}\n${containers}\n${script("reset.sh")}`;

/** Ends the containers of a host that keeps other roles, when the runtime's units are gone. */
export const removeRuntime = ({ containerdRun, containerdRoot }: Layout): string =>
  [
    `containerd_run=${shellWord(containerdRun)} containerd_root=${shellWord(containerdRoot)}`,
    containers,
    "remove_runtime",
  ].join("\n");

/** How @pulumi/command reaches a host; holds exact fields only, as all of them are stored with every resource. */
export function connectionTo(spec: ClusterSpec, host: HostSpec): types.input.remote.ConnectionArgs {
  const credentials = {
    ...(spec.ssh.privateKey !== undefined && { privateKey: pulumi.secret(spec.ssh.privateKey) }),
    ...(spec.ssh.privateKeyPassword !== undefined && {
      privateKeyPassword: pulumi.secret(spec.ssh.privateKeyPassword),
    }),
  };
  const dialling = {
    dialErrorLimit: spec.ssh.dialAttempts,
    perDialTimeout: spec.ssh.dialTimeoutSeconds,
  };
  const endpoint = (e: Endpoint) => ({ host: e.host, port: e.port, user: e.user, hostKey: e.hostKey });
  return {
    ...endpoint({ ...host, host: host.address }),
    ...credentials,
    ...dialling,
    ...(spec.ssh.jump && { proxy: { ...endpoint(spec.ssh.jump), ...credentials, ...dialling } }),
  };
}

export interface HostArgs {
  readonly spec: ClusterSpec;
  readonly host: HostSpec;
  /** Tells this stack's cluster from every other, of the same name too. */
  readonly cluster: pulumi.Output<string>;
  /** Units that the host will get, to find ones of its own with these names. */
  readonly units: readonly string[];
  /** TCP ports that the host's services will listen on. */
  readonly ports: readonly number[];
  /** UDP ports, likewise. */
  readonly udpPorts: readonly number[];
  /** Space that binaries and images take, in MiB. */
  readonly needMib: number;
  /** Folder in which volumes will be made, if any. */
  readonly volumes?: string;
}

/**
 * A host that is ready to take its roles. Created first: a preflight that reports every problem at once and changes
 * nothing but a mark of ownership. Destroyed last: the complete reset. All else on the host is `deletedWith` its root.
 */
export class Host extends pulumi.ComponentResource {
  readonly spec: HostSpec;
  readonly layout: Layout;
  readonly connection: types.input.remote.ConnectionArgs;
  /** Ends when the host was found ready; its deletion gives the host back. */
  readonly root: remote.Command;

  constructor(name: string, args: HostArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:host:Host", name, {}, opts);
    const { spec, host } = args;
    this.spec = host;
    this.layout = layoutOf(spec);
    this.connection = connectionTo(spec, host);
    const { podCidr, nodeCidrMaskSize, serviceCidr } = spec.network;
    const fixed = [
      `podCidr ${podCidr}/${nodeCidrMaskSize} serviceCidr ${serviceCidr}`,
      // etcd's data are there.
      `controlPlane ${spec.controlPlane.name}@${spec.controlPlane.address}`,
      ...(spec.system === "cluster" ? [] : [`system ${spec.system}`]),
      // By the host's place in the list; the bridge keeps it.
      ...(spec.system === "minimal" ? [`podSubnet ${podSubnet(spec, host)}`] : []),
    ].join(" ");
    // What was stored by the higher one, the lower cannot read.
    const rising = `encryption.generation=${spec.apiServer.encryption.generation} versions.kubernetes=${spec.versions.kubernetes}`;
    const body = (cluster: string): string => {
      const facts = {
        name: host.name,
        owner: `${spec.clusterName}-${cluster}/${host.name}@${host.address}`,
        fixed,
        rising,
        roles: host.roles.join(" "),
        ports: args.ports.join(" "),
        udp_ports: args.udpPorts.join(" "),
        netfilter: parts[spec.system].has("nodes") ? spec.network.kubeProxyMode : "none",
        vxlan_mtu: spec.network.podNetwork === "flannel" ? String(vxlanOverhead + podMtu(spec)) : "",
        address: host.address,
        units: args.units.join(" "),
        arch: "amd64",
        cgroup_v1: String(spec.runtime.allowCgroupV1),
        need_mib: String(args.needMib),
        service_address: spec.apiServiceAddress,
        claimed: this.layout.claimed.join(" "),
        ctr: linkOf("ctr", this.layout),
        containerd_run: this.layout.containerdRun,
        containerd_root: this.layout.containerdRoot,
        named_by_host: String(spec.system === "minimal"),
        ...(args.volumes !== undefined && { volumes: args.volumes }),
      };
      const assignments = Object.entries(facts).map(([key, value]) => `${key}=${shellWord(value)}`);
      return [...assignments, "case $1 in", "preflight)", preflight, ";;", "reset)", reset, ";;", "esac"].join("\n");
    };
    // The address belongs to the name: another machine is another root, and the old one is reset.
    this.root = new remote.Command(
      `${name}-root-${host.address}`,
      {
        connection: this.connection,
        // The clock to compare with counts at creation only; later values are no change.
        create: rootShell("preflight", String(Math.floor(Date.now() / 1000))),
        update: rootShell("preflight"),
        delete: rootShell("reset"),
        stdin: args.cluster.apply((cluster) => wholeScript(body(cluster))),
        addPreviousOutputInEnv: false,
      },
      { parent: this, ignoreChanges: ["create"], customTimeouts: { create: "5m", delete: "10m" } },
    );
    this.registerOutputs({});
  }
}

/** What a phase ships. */
export interface Phase {
  readonly payload: Payload;
  /** Files with keys: they travel by standard input and are secret in the state. Default mode: 0600. */
  readonly secrets?: readonly (Omit<HostFile, "content"> & { readonly content: pulumi.Input<string> })[];
  /** Script that takes away what the phase's units leave, when the host loses the phase. Default: they leave nothing. */
  readonly afterwards?: string;
}

export interface ShipmentArgs extends Phase {
  readonly host: Host;
  /** What is shipped, like control-plane; unique on the host. */
  readonly phase: string;
  /** Binaries that the phase's units run. */
  readonly pins?: readonly Pin[];
}

/**
 * A unit as previews show it: its own file, its config files and its binaries, line by line. The script that ships them
 * holds secrets, so its own difference is hidden.
 */
class UnitView extends pulumi.ComponentResource {
  constructor(
    name: string,
    { unit, payload, pins, layout }: { unit: Unit; payload: Payload; pins: readonly Pin[]; layout: Layout },
    opts: pulumi.ComponentResourceOptions,
  ) {
    const own = payload.files.filter((f) => f.path.endsWith(`/${unit.name}`) || unit.inputs.includes(f.path));
    const run = pins.filter((p) => unit.inputs.includes(linkOf(p.name, layout)));
    const shown = {
      ...Object.fromEntries(own.map((f) => [f.path, f.content])),
      ...Object.fromEntries(run.map((p) => [p.name, `${p.version} ${p.digest}`])),
    };
    super("plainkube:host:Unit", name, shown, opts);
    this.registerOutputs({});
  }
}

/**
 * The files of one phase on one host, and its units running with them. One SSH session ships all files, each atomically,
 * removes those that the phase no longer has, restarts exactly the units whose inputs changed and waits until they work.
 */
export class Shipment extends pulumi.ComponentResource {
  /** Ends when the units work. */
  readonly applied: remote.Command;

  constructor(name: string, args: ShipmentArgs, opts?: pulumi.ComponentResourceOptions) {
    const { host, phase, payload, secrets = [], pins = [], afterwards } = args;
    super("plainkube:host:Shipment", name, {}, opts);
    for (const unit of payload.units)
      new UnitView(`${host.spec.name}-${unit.name}`, { unit, payload, pins, layout: host.layout }, { parent: this });
    const files = secrets.map(({ content, ...file }) =>
      pulumi.output(content).apply((text) => ({ ...file, content: text })),
    );
    const script = pulumi.all(files).apply((all) => phaseScript(phase, payload, all, afterwards));
    // A new number for each new content, so that a change is undone by undoing it even where applying it failed: the
    // engine keeps the inputs of before then.
    const attempt = new random.RandomId(
      `${name}-attempt`,
      {
        byteLength: 4,
        keepers: {
          content: pulumi.unsecret(script.apply(sha256)),
          binaries: sha256(pins.map((p) => p.digest).join("\n")),
        },
      },
      { parent: this },
    );
    this.applied = new remote.Command(
      `${name}-apply`,
      {
        connection: host.connection,
        create: attempt.hex.apply((hex) => rootShell(phase, `attempt-${hex}`)),
        delete: rootShell(phase, "remove"),
        stdin: pulumi.secret(script),
        addPreviousOutputInEnv: false,
      },
      {
        parent: this,
        deletedWith: host.root,
        dependsOn: [host.root],
        customTimeouts: { create: "10m", update: "10m" },
      },
    );
    this.registerOutputs({});
  }
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
