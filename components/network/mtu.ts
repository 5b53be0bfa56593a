import type { ClusterSpec } from "../spec.ts";

/** Bytes that VXLAN over IPv4 puts before a packet: Ethernet 14, VXLAN 8, UDP 8, IPv4 20. */
export const vxlanOverhead = 50;

/** The MTU of pods: with VXLAN as much as fits into a host's usual 1500; else 0, which leaves it to the kernel (1500). */
export const podMtu = ({ network }: Pick<ClusterSpec, "network">): number =>
  network.mtu !== 0 || network.podNetwork !== "flannel" ? network.mtu : 1500 - vxlanOverhead;
