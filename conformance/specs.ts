/** A part of the official suite that this project answers for. */
export interface Area {
  readonly name: string;
  /** How the full names of its specs begin. */
  readonly prefixes: readonly string[];
}

const network = (...names: string[]) => names.map((name) => `[sig-network] ${name} `);
const node = (...names: string[]) => names.map((name) => `[sig-node] ${name} `);
const storage = (...names: string[]) => names.map((name) => `[sig-storage] ${name} `);

/** What is chosen of the suite's [Conformance] specs, by name. Serial ones are left out. */
export const areas: readonly Area[] = [
  {
    name: "Services",
    prefixes: network(
      "Services",
      "Service endpoints latency",
      "ServiceCIDR and IPAddress API",
      "Endpoints",
      "EndpointsController",
      "EndpointSlice",
      "EndpointSliceMirroring",
      "API Server",
      "HostPort",
      "Networking",
      "Proxy",
    ),
  },
  { name: "DNS", prefixes: network("DNS") },
  {
    name: "Pods",
    prefixes: node(
      "Pods",
      "Pods Extended",
      "Pods Extended (pod generation)",
      "Probing container",
      "InitContainer",
      "Ephemeral Containers",
      "Container Lifecycle Hook",
      "PreStop",
      "Containers",
      "Container Runtime",
      "Variable Expansion",
      "Downward API",
      "Kubelet",
      "KubeletManagedEtcHosts",
      "Security Context",
      "Sysctls",
      "ImageVolume",
    ),
  },
  {
    name: "ConfigMaps",
    prefixes: [...node("ConfigMap"), ...storage("ConfigMap", "Projected configMap", "Projected combined")],
  },
  { name: "Secrets", prefixes: [...node("Secrets"), ...storage("Secrets", "Projected secret")] },
  { name: "ServiceAccounts", prefixes: ["[sig-auth] ServiceAccounts "] },
  { name: "kubectl", prefixes: ["[sig-cli] Kubectl "] },
];

/** Why some chosen specs cannot run: an image of the suite that nothing here assembles. */
export interface Need {
  /** End of the spec's name, without its tags in brackets. */
  readonly spec: string;
  /** Name and tag in the suite's registry. */
  readonly image: string;
  /** What the image is, and what stands in the way. */
  readonly why: string;
}

/** Read in the suite's sources of 1.36.3: the image is run, not only named. */
export const needs: readonly Need[] = [
  {
    spec: "[sig-node] Pods should run through the lifecycle of Pods and PodStatus",
    image: "agnhost:2.55",
    why: "an older agnhost, whose sources are not in this module",
  },
  {
    spec: "[sig-node] ImageVolume should succeed with pod and pull policy of Always",
    image: "kitten:1.8",
    why: "it must hold files of Alpine Linux, and its pull policy Always asks the registry even if it is there",
  },
];
