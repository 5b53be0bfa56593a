import { local } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { Host } from "../host/host.ts";
import type { ClusterSpec } from "../spec.ts";
import { type Pin, pinsFor } from "./pins.ts";
import { type Stage, stages } from "./stages.ts";
import type { UploadOrder } from "./upload.ts";

export const pinsOf = (spec: ClusterSpec, of: readonly Stage[]): Pin[] =>
  pinsFor([...new Set(of.flatMap((stage) => stages[stage]))], spec.versions, "amd64", spec.binaries);

export interface BinariesArgs {
  readonly spec: ClusterSpec;
  readonly host: Host;
  /** What the host needs, first things first. */
  readonly stages: readonly Stage[];
}

/**
 * The binaries of some stages on one host: obtained and verified on this machine, sent in one SSH session, verified again
 * on the host and placed by content. What the host already has is not sent. Preview works from the pins alone.
 */
export class Binaries extends pulumi.ComponentResource {
  readonly pins: readonly Pin[];
  /** Ends when all of them lie on the host. */
  readonly uploaded: local.Command;

  constructor(name: string, args: BinariesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:binaries:Binaries", name, {}, opts);
    const { spec, host } = args;
    this.pins = pinsOf(spec, args.stages);
    const order: UploadOrder = {
      endpoint: { host: host.spec.address, port: host.spec.port, user: host.spec.user, hostKey: host.spec.hostKey },
      ...(spec.ssh.jump && { jump: spec.ssh.jump }),
      dialAttempts: spec.ssh.dialAttempts,
      dialTimeoutSeconds: spec.ssh.dialTimeoutSeconds,
    };
    this.uploaded = new local.Command(
      `${name}-upload`,
      {
        create: "node components/binaries/upload.ts",
        environment: {
          PLAINKUBE_UPLOAD: JSON.stringify(order),
          PLAINKUBE_BINARIES: JSON.stringify(spec.binaries),
          PLAINKUBE_PINS: this.pins.map((p) => [p.name, p.version, p.arch, p.digest].join(" ")).join("\n"),
        },
        // The key to log in with, if it is not the agent's.
        stdin: pulumi.secret(JSON.stringify([spec.ssh.privateKey ?? "", spec.ssh.privateKeyPassword ?? ""])),
        addPreviousOutputInEnv: false,
      },
      { parent: this, deletedWith: host.root, dependsOn: [host.root] },
    );
    this.registerOutputs({});
  }
}
