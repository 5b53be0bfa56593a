import type { Check } from "../spec.ts";

/** Override → the setting that says the same to every other component, too. */
const owned: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "kubeApiserver.flags": { "service-cluster-ip-range": "network.serviceCidr" },
  "kubeControllerManager.flags": {
    "cluster-cidr": "network.podCidr",
    "node-cidr-mask-size": "network.nodeCidrMaskSize",
    "service-cluster-ip-range": "network.serviceCidr",
  },
  "kubelet.flags": {
    "hostname-override": "hosts[].name",
    "node-ip": "hosts[].address",
    "cluster-domain": "network.dnsDomain",
    "cgroup-driver": "runtime.cgroupDriver",
    "max-pods": "runtime.maxPods",
  },
  "kubelet.config": {
    clusterDomain: "network.dnsDomain",
    cgroupDriver: "runtime.cgroupDriver",
    maxPods: "runtime.maxPods",
  },
  "kubeProxy.flags": { "cluster-cidr": "network.podCidr", "hostname-override": "hosts[].name" },
  "kubeProxy.config": { clusterCIDR: "network.podCidr", hostnameOverride: "hosts[].name" },
};

/** Refuses overrides that would tell one component something else than the others. */
export const checkOwned: Check = (config, add) => {
  const overrides: Readonly<Record<string, Readonly<Record<string, object>>>> = config.overrides;
  for (const [place, settings] of Object.entries(owned)) {
    const [component = "", kind = ""] = place.split(".");
    for (const [name, value] of Object.entries(overrides[component]?.[kind] ?? {})) {
      const setting = Object.hasOwn(settings, name) ? settings[name] : undefined;
      if (setting === undefined) continue;
      add(
        `plainkube:overrides.${place} has what a setting says to all components`,
        `${name}: ${JSON.stringify(value)}`,
        `plainkube:${setting}, by which the others go, too`,
        `remove it, and set ${setting}`,
      );
    }
  }
};
