import { local } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { Host } from "../host/host.ts";
import { sshTarget } from "../host/ssh.ts";
import type { ClusterSpec } from "../spec.ts";
import { type Pin, pinsFor } from "./pins.ts";
import { type Stage, stagesOf, uploads } from "./stages.ts";
import type { UploadOrder } from "./upload.ts";

export interface BinariesArgs {
  readonly spec: ClusterSpec;
  readonly host: Host;
  /** What the host needs, first things first. */
  readonly stages: readonly Stage[];
}

/** One stage of a host's binaries: what is there, and the end of the upload that brings it. */
export interface Uploaded {
  readonly pins: readonly Pin[];
  readonly done: pulumi.Resource;
}

/**
 * The binaries of a host: obtained and verified on this machine, sent in three SSH sessions at most, verified again on the
 * host and placed by content. What the host already has is not sent. What starts first arrives first. Preview works from the
 * pins alone.
 */
export class Binaries extends pulumi.ComponentResource {
  readonly #stages = new Map<Stage, Uploaded>();

  constructor(name: string, args: BinariesArgs, opts?: pulumi.ComponentResourceOptions) {
    const { spec, host } = args;
    const stages = stagesOf(spec);
    const pins = args.stages.map(
      (stage) => [stage, pinsFor(stages[stage], spec.versions, "amd64", spec.binaries)] as const,
    );
    const shown = Object.fromEntries(pins.flatMap(([, all]) => all.map((p) => [p.name, `${p.version} ${p.digest}`])));
    super("plainkube:binaries:Binaries", name, { host: host.spec.name, binaries: shown }, opts);
    let previous: pulumi.Resource = host.claimed;
    for (const [upload, sent] of Object.entries(uploads)) {
      const stagesSent = pins.filter(([stage]) => (sent as readonly Stage[]).includes(stage));
      if (stagesSent.length === 0) continue;
      previous = new local.Command(
        `${name}-${upload}`,
        {
          create: "node --require=./components/compile-cache.cjs components/binaries/upload.ts",
          environment: {
            PLAINKUBE_UPLOAD: JSON.stringify({
              ...sshTarget(spec, host.spec),
              layout: host.layout,
            } satisfies UploadOrder),
            PLAINKUBE_BINARIES: JSON.stringify(spec.binaries),
            PLAINKUBE_PINS: stagesSent
              .flatMap(([, ofStage]) => ofStage)
              .map((p) => [p.name, p.version, p.arch, p.digest].join(" "))
              .join("\n"),
          },
          // The key's passphrase, or nothing.
          stdin: pulumi.secret(`${spec.ssh.privateKeyPassword ?? ""}\n`),
          addPreviousOutputInEnv: false,
        },
        { parent: this, deletedWith: host.root, dependsOn: [previous] },
      );
      for (const [stage, ofStage] of stagesSent) this.#stages.set(stage, { pins: ofStage, done: previous });
    }
  }

  /** A stage that the host's roles ask for. */
  stage(stage: Stage): Uploaded {
    const found = this.#stages.get(stage);
    if (!found) throw new Error(`the host has no binaries of the stage ${stage}: its roles do not ask for them`);
    return found;
  }
}
