import type { types } from "@pulumi/kubernetes";
import type { ClusterSpec } from "./spec.ts";
import { atLeast } from "./versions.ts";

type Spread = types.input.core.v1.TopologySpreadConstraint;

export const hostname = "kubernetes.io/hostname";

/** One pod a node before any node has two. Pods of a template that is being replaced do not count, where schedulers can tell. */
export const spreadOver = (spec: ClusterSpec, matchLabels: Readonly<Record<string, string>>): Spread => ({
  maxSkew: 1,
  topologyKey: hostname,
  whenUnsatisfiable: "DoNotSchedule",
  labelSelector: { matchLabels },
  ...(atLeast(spec.versions.kubernetes, "1.27") && { matchLabelKeys: ["pod-template-hash"] }),
});

/**
 * The same for pods that may be made before the nodes have joined: they wait for as many of them. Undefined with old
 * schedulers, which do not look at a waiting pod again when a node's taint goes, unless that very node had refused it.
 */
export const spreadOverComing = (
  spec: ClusterSpec,
  nodes: number,
  matchLabels: Readonly<Record<string, string>>,
): Spread | undefined =>
  atLeast(spec.versions.kubernetes, "1.34")
    ? { ...spreadOver(spec, matchLabels), minDomains: nodes, nodeTaintsPolicy: "Honor" }
    : undefined;
