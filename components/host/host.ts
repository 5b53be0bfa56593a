import { createHash } from "node:crypto";
import { remote, type types } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { barrier } from "../barrier.ts";
import type { Pin } from "../binaries/pins.ts";
import { linkOf } from "../binaries/stages.ts";
import { type Layout, layoutOf } from "../paths.ts";
import type { ClusterSpec, Endpoint, HostSpec } from "../spec.ts";
import { type HostScriptArgs, hostScript } from "./script.ts";
import { type HostFile, type Payload, phaseScript, rootShell, type Unit } from "./shipment.ts";

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

export interface HostArgs extends HostScriptArgs {
  /** Tells this stack's cluster from every other, of the same name too. */
  readonly cluster: pulumi.Output<string>;
}

/**
 * A host that is ready to take its roles. Its root is created first: a preflight that reports every problem at once and changes
 * nothing. Destroyed last: the complete reset. All else on the host is `deletedWith` its root, and waits until it is claimed.
 */
export class Host extends pulumi.ComponentResource {
  readonly spec: HostSpec;
  readonly layout: Layout;
  readonly connection: types.input.remote.ConnectionArgs;
  /** Ends when the host was found ready; its deletion gives the host back. */
  readonly root: remote.Command;
  readonly #args: HostArgs;
  #claimed: remote.Command | undefined;

  constructor(name: string, args: HostArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:host:Host", name, {}, opts);
    const { spec, host } = args;
    this.#args = args;
    this.spec = host;
    this.layout = layoutOf(spec);
    this.connection = connectionTo(spec, host);
    // The address belongs to the name: another machine is another root, and the old one is reset.
    this.root = new remote.Command(
      `${name}-root-${host.address}`,
      {
        connection: this.connection,
        // The clock to compare with counts at creation only; later values are no change.
        create: rootShell("preflight", String(Math.floor(Date.now() / 1000))),
        update: rootShell("preflight"),
        delete: rootShell("reset"),
        stdin: args.cluster.apply((cluster) => hostScript(args, cluster, "preflight", "reset")),
        addPreviousOutputInEnv: false,
      },
      { parent: this, ignoreChanges: ["create"], customTimeouts: { create: "5m", delete: "10m" } },
    );
  }

  /** Ends when the host bears our mark. */
  get claimed(): remote.Command {
    if (!this.#claimed) throw new Error(`host ${this.spec.name} is not claimed yet: call claimAll on all hosts first`);
    return this.#claimed;
  }

  /** Marks the host as ours, the first change on it, when all hosts are ready; it is looked at once more just before. */
  claim(dependsOn: pulumi.Resource[]): void {
    this.#claimed = new remote.Command(
      `${this.spec.name}-claim-${this.spec.address}`,
      {
        connection: this.connection,
        create: rootShell("claim"),
        stdin: this.#args.cluster.apply((cluster) => hostScript(this.#args, cluster, "claim")),
        addPreviousOutputInEnv: false,
      },
      { parent: this, deletedWith: this.root, dependsOn },
    );
  }
}

/** Claims all hosts, none before all were found ready. Returns them. */
export function claimAll(hosts: readonly Host[]): readonly Host[] {
  const ready = barrier(
    "hosts-ready",
    hosts.map(({ root }) => root),
  );
  for (const host of hosts) host.claim(ready);
  return hosts;
}

/** What a phase ships. */
export interface Phase {
  readonly payload: Payload;
  /** Files with keys: they travel by standard input and are secret in the state. Default mode: 0600. */
  readonly secrets?: readonly (Omit<HostFile, "content"> & { readonly content: pulumi.Input<string> })[];
  /** Script that takes away what the phase's units leave, when the host loses the phase. Default: they leave nothing. */
  readonly afterwards?: string;
  /** Contents of another phase's files that units of this one read. Default: none. */
  readonly rests?: readonly pulumi.Input<string>[];
}

export interface ShipmentArgs extends Phase {
  readonly host: Host;
  /** What is shipped, like control-plane; unique on the host. */
  readonly phase: string;
  /** Binaries that the phase's units run. */
  readonly pins?: readonly Pin[];
  /** What has to be there before the files are shipped. The resources that only show something do not wait for it. */
  readonly after: readonly pulumi.Resource[];
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
    const { host, phase, payload, secrets = [], pins = [], afterwards, rests = [], after } = args;
    super("plainkube:host:Shipment", name, {}, opts);
    for (const unit of payload.units)
      new UnitView(`${host.spec.name}-${unit.name}`, { unit, payload, pins, layout: host.layout }, { parent: this });
    const files = secrets.map(({ content, ...file }) =>
      pulumi.output(content).apply((text) => ({ ...file, content: text })),
    );
    const script = pulumi.all(files).apply((all) => phaseScript(phase, payload, all, afterwards));
    // A new number for each new content, so that a change is undone by undoing it even where applying it failed: the
    // engine keeps the inputs of before then. None for a change that a host's root refuses, as nothing was tried.
    const attempt = new random.RandomId(
      `${name}-attempt`,
      {
        byteLength: 4,
        keepers: {
          content: pulumi.unsecret(script.apply(sha256)),
          binaries: sha256(pins.map((p) => p.digest).join("\n")),
          ...(rests.length > 0 && {
            rests: pulumi.unsecret(pulumi.all([...rests]).apply((all) => sha256(all.join("\n")))),
          }),
        },
      },
      { parent: this, dependsOn: [host.claimed] },
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
        dependsOn: [host.claimed, ...after],
        customTimeouts: { create: "10m", update: "10m" },
      },
    );
  }
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
