import {
  renderApiServer,
  renderApprover,
  renderControllerManager,
  renderScheduler,
} from "../../components/control-plane/render.ts";
import { renderEtcd } from "../../components/etcd/render.ts";
import { concat, type Payload } from "../../components/host/shipment.ts";
import { renderKubelet } from "../../components/kubelet/render.ts";
import { renderNetwork } from "../../components/network/render.ts";
import { renderRuntime } from "../../components/runtime/render.ts";
import type { ClusterSpec, HostSpec } from "../../components/spec.ts";

/** What each phase ships to a host, by phase; tests/components checks that the program ships the same. */
export function payloadsOf(spec: ClusterSpec, host: HostSpec): Record<string, Payload> {
  return {
    ...(host.isControlPlane && {
      "control-plane": concat(
        renderEtcd(spec),
        renderApiServer(spec),
        renderControllerManager(spec),
        renderScheduler(spec),
        renderApprover(spec),
      ),
    }),
    ...(host.isWorker && { runtime: renderRuntime(spec) }),
    node: concat(...(host.isWorker ? [renderKubelet(spec, host)] : []), renderNetwork(spec, host)),
  };
}
