import type { Check } from "../spec.ts";
import { parts } from "../system.ts";
import { atLeast } from "../versions.ts";

/** From this minor release on kube-proxy has its nftables mode without a feature gate (pkg/features, NFTablesProxyMode). */
const nftablesSince = "1.31";

/** Contradictions between the choices of a network. */
export const checkNetwork: Check = ({ system, hosts, network, overrides, versions }, add, isSound) => {
  const { kubeProxyMode, podNetwork, flannel } = network;
  if (
    kubeProxyMode === "nftables" &&
    isSound("network.kubeProxyMode", "versions.kubernetes") &&
    !atLeast(versions.kubernetes, nftablesSince)
  ) {
    add(
      "plainkube:network.kubeProxyMode needs a newer Kubernetes",
      `nftables with ${versions.kubernetes}`,
      `versions.kubernetes from ${nftablesSince}, which has this mode without a feature gate`,
      "use iptables, or raise versions.kubernetes",
    );
  }
  const mode = overrides.kubeProxy.config.mode;
  if (mode !== undefined && mode !== kubeProxyMode && isSound("overrides.kubeProxy", "network.kubeProxyMode")) {
    add(
      "plainkube:overrides.kubeProxy.config.mode differs from plainkube:network.kubeProxyMode",
      `${JSON.stringify(mode)} and ${kubeProxyMode}`,
      "one mode: the hosts' tools, their masquerading and host ports go by it, too",
      "set network.kubeProxyMode, and leave the override out",
    );
  }
  if (podNetwork === "flannel" && isSound("network.podNetwork") && parts[system].has("nodes")) {
    for (const [i, host] of hosts.entries()) {
      if (host.roles.includes("worker") || !isSound(`hosts[${i}].roles`)) continue;
      add(
        `plainkube:hosts[${i}] (${host.name}) cannot be part of plainkube:network.podNetwork flannel`,
        host.roles.join(", "),
        "the role worker: flanneld keeps a host's lease in its Node, and only a kubelet makes one",
        "add worker to its roles, with a taint NoSchedule if it shall take no pods; or use podNetwork routes",
      );
    }
  }
  if (podNetwork !== "flannel" && isSound("network.podNetwork", "network.flannel") && !isDefault(flannel)) {
    add(
      "plainkube:network.flannel has no effect",
      `podNetwork ${podNetwork}`,
      "these settings only with podNetwork flannel",
      "set network.podNetwork to flannel, or leave network.flannel out",
    );
  }
  if (isSound("network.flannel.port") && flannel.port >= 30000 && flannel.port <= 32767) {
    add(
      "plainkube:network.flannel.port lies among the node ports",
      String(flannel.port),
      "a UDP port outside 30000-32767, which kube-proxy takes for Services",
      "choose another, like 8472 or 4789",
    );
  }
};

const isDefault = (flannel: { vni: number; port: number }): boolean => flannel.vni === 1 && flannel.port === 8472;
