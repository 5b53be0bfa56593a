import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../access/access.ts";
import type { Node } from "../node/node.ts";
import type { Pki } from "../pki/pki.ts";
import type { ClusterSpec } from "../spec.ts";
import { MetricsServer } from "./metrics-server/metrics-server.ts";
import { storageClass } from "./storage/classes.ts";
import { LocalPath } from "./storage/local-path.ts";
import { hasLocalPath } from "./storage/provisioner.ts";

export interface AddonsArgs {
  readonly spec: ClusterSpec;
  readonly pki: Pki;
  readonly access: Access;
  /** Their images are there before pods name them. */
  readonly nodes: readonly Node[];
}

/** What the configuration adds to the cluster: metrics-server, storage classes, the provisioner that comes along. */
export class Addons extends pulumi.ComponentResource {
  constructor(name: string, args: AddonsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:addons:Addons", name, {}, opts);
    const { addons } = args.spec;
    const parent = { parent: this };
    if (addons.metricsServer) new MetricsServer(`${name}-metrics-server`, args, parent);
    if (hasLocalPath(addons)) new LocalPath(`${name}-local-path`, args, parent);
    for (const one of addons.storageClasses) storageClass(`${name}-class-${one.name}`, one, args.access.options(this));
  }
}
