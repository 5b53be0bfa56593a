import { renderControllers, renderControlPlane } from "../../components/control-plane/render.ts";
import { concat, type Payload } from "../../components/host/shipment.ts";
import { renderKubelet } from "../../components/kubelet/render.ts";
import {
  renderMinimalControllers,
  renderMinimalControlPlane,
  renderMinimalNode,
  renderMinimalRuntime,
} from "../../components/minimal/render.ts";
import { renderNetwork } from "../../components/network/render.ts";
import { renderRuntime } from "../../components/runtime/render.ts";
import type { ClusterSpec, HostSpec } from "../../components/spec.ts";
import { parts } from "../../components/system.ts";

/** What each phase ships to a host, by phase; tests/components checks that the program ships the same. */
export function payloadsOf(spec: ClusterSpec, host: HostSpec): Record<string, Payload> {
  if (spec.system === "minimal") {
    return {
      ...(host.isControlPlane && {
        "control-plane": renderMinimalControlPlane(spec),
        controllers: renderMinimalControllers(spec),
      }),
      ...(host.isWorker && { runtime: renderMinimalRuntime(spec, host) }),
      node: renderMinimalNode(spec, host),
    };
  }
  return {
    ...(host.isControlPlane && {
      "control-plane": renderControlPlane(spec),
      ...(parts[spec.system].has("controllers") && { controllers: renderControllers(spec) }),
    }),
    ...(host.isWorker && { runtime: renderRuntime(spec) }),
    ...(parts[spec.system].has("nodes") && {
      node: concat(...(host.isWorker ? [renderKubelet(spec, host)] : []), renderNetwork(spec, host)),
    }),
  };
}
