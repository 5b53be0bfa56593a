import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { linkOf } from "../binaries/stages.ts";
import { nthAddress } from "../cidr.ts";
import { concat, type HostFile, type Payload } from "../host/shipment.ts";
import { imageRefs } from "../images.ts";
import { minimalLayout, paths } from "../paths.ts";
import { type CertificatePlan, isAddress } from "../pki/plan.ts";
import { fill, merge, withFlags, yaml } from "../render.ts";
import { runtimeDefaults } from "../schema.ts";
import type { ClusterSpec, HostSpec } from "../spec.ts";
import { atLeast } from "../versions.ts";

/**
 * The system `minimal`, whole: what differs from upstream's defaults and no more. What breaks without each flag and file is in
 * docs/systems/minimal.md, and tried out by tests/long/minimal.test.ts.
 */

const read = (name: string): string => readFileSync(new URL(`./${name}`, import.meta.url), "utf8");
const placed = (name: string): string => linkOf(name, minimalLayout);
const inOpt = (name: string): string => `${minimalLayout.opt}/${name}`;

/** Files with keys. `--cert-dir` looks for the pair by these names. */
export const minimalKeys = {
  cert: inOpt("apiserver.crt"),
  key: inOpt("apiserver.key"),
  kubeconfig: inOpt("kubeconfig"),
} as const;

/** The only client certificate: of the administrator and of every component. */
export const adminCertificate: CertificatePlan = {
  authority: "kubernetes",
  commonName: "admin",
  uses: ["client_auth"],
};

/** What the API server's certificate is valid for: how hosts and pods reach it, and what the configuration adds. */
export function servingNames(spec: ClusterSpec): { dnsNames: string[]; ipAddresses: string[] } {
  const extra = spec.certificates.extraApiSans;
  return {
    dnsNames: ["kubernetes.default.svc", ...extra.filter((name) => !isAddress(name))],
    ipAddresses: [spec.controlPlane.address, spec.apiServiceAddress, ...extra.filter(isAddress)],
  };
}

interface Parts {
  readonly flags?: Readonly<Record<string, string | number | boolean>>;
  readonly files?: readonly HostFile[];
  /** What else decides about a restart. */
  readonly inputs: readonly string[];
  readonly probe?: string;
  /** In place of the unit file of this folder. */
  readonly content?: string;
}

function unit(
  name: string,
  { flags = {}, files = [], inputs, probe, content = read(`${name}.service`) }: Parts,
): Payload {
  return {
    files: [{ path: `${paths.units}/${name}.service`, content: withFlags(content, flags) }, ...files],
    units: [
      {
        name: `${name}.service`,
        inputs: [...files.map((f) => f.path), ...inputs],
        ...(probe !== undefined && { probe }),
      },
    ],
  };
}

/** A config file where the configuration overrides fields of one; without any, the component needs none. */
function overridden(
  path: string,
  flag: string,
  base: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): { flags: Record<string, string>; files: HostFile[] } {
  if (Object.keys(over).length === 0) return { flags: {}, files: [] };
  return { flags: { [flag]: path }, files: [{ path, content: yaml(merge(base, over)) }] };
}

/** etcd and API server. */
export function renderMinimalControlPlane({ overrides, network, controlPlane }: ClusterSpec): Payload {
  const { cert, key } = minimalKeys;
  const etcd = overridden(inOpt("etcd.yaml"), "config-file", {}, overrides.etcd.config);
  // Upstream's default for --service-cluster-ip-range.
  const services = network.serviceCidr === "10.0.0.0/24" ? {} : { "service-cluster-ip-range": network.serviceCidr };
  return concat(
    unit("etcd", { ...etcd, inputs: [placed("etcd")], probe: "curl -sf http://127.0.0.1:2379/health" }),
    unit("kube-apiserver", {
      flags: { ...services, ...overrides.kubeApiserver.flags },
      inputs: [placed("kube-apiserver"), cert, key],
      // No request is anonymous: not this one either.
      probe: `curl -sf --cacert ${cert} --cert ${cert} --key ${key} https://${controlPlane.address}:6443/readyz`,
    }),
  );
}

/** Controller manager and scheduler. */
export function renderMinimalControllers({ overrides }: ClusterSpec): Payload {
  const { kubeconfig } = minimalKeys;
  const clientConnection = { kubeconfig };
  const scheduler = overridden(
    inOpt("scheduler.yaml"),
    "config",
    { apiVersion: "kubescheduler.config.k8s.io/v1", kind: "KubeSchedulerConfiguration", clientConnection },
    overrides.kubeScheduler.config,
  );
  return concat(
    unit("kube-controller-manager", {
      flags: overrides.kubeControllerManager.flags,
      inputs: [placed("kube-controller-manager"), kubeconfig],
      probe: "curl -sfk https://127.0.0.1:10257/healthz",
    }),
    unit("kube-scheduler", {
      flags: { ...scheduler.flags, ...overrides.kubeScheduler.flags },
      files: scheduler.files,
      inputs: [placed("kube-scheduler"), kubeconfig],
      probe: "curl -sfk https://127.0.0.1:10259/healthz",
    }),
  );
}

/** containerd with the images that no registry gives it. */
export function renderMinimalRuntime(spec: ClusterSpec, host: HostSpec): Payload {
  const network = inOpt("bridge.conf");
  const { restrictOomScoreAdj, cgroupDriver } = spec.runtime;
  const toml = [
    fill(read("containerd.toml"), { PAUSE_IMAGE: imageRefs(spec.versions).pause }),
    ...(restrictOomScoreAdj ? ['[plugins."io.containerd.cri.v1.runtime"]\nrestrict_oom_score_adj = true\n'] : []),
    ...(cgroupDriver === "systemd" ? [read("systemd-cgroup.toml")] : []),
  ];
  return unit("plainkube-containerd", {
    files: [
      { path: inOpt("containerd.toml"), content: toml.join("\n") },
      { path: network, content: renderBridge(spec, host) },
    ],
    inputs: ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "pause.tar", "workload.tar"].map(placed),
  });
}

/** A host's share of the pods' addresses: by its place in the list of hosts. */
export function podSubnet({ hosts, network }: ClusterSpec, host: HostSpec): string {
  const size = 2 ** (32 - network.nodeCidrMaskSize);
  const place = hosts.findIndex(({ name }) => name === host.name);
  return `${nthAddress(network.podCidr, place * size)}/${network.nodeCidrMaskSize}`;
}

function renderBridge(spec: ClusterSpec, host: HostSpec): string {
  const { mtu } = spec.network;
  const network = {
    cniVersion: "1.0.0",
    name: "plainkube",
    type: "bridge",
    // A name of ours, so that a reset finds it.
    bridge: "plainkube0",
    isDefaultGateway: true,
    ...(mtu !== 0 && { mtu }),
    ipam: { type: "host-local", subnet: podSubnet(spec, host) },
  };
  return `${JSON.stringify(network, null, 2)}\n`;
}

/** kubelet on a worker, kube-proxy and the routes to the other hosts' pods. */
export function renderMinimalNode(spec: ClusterSpec, host: HostSpec): Payload {
  const { kubeconfig } = minimalKeys;
  const { kubelet, kubeProxy } = spec.overrides;
  const proxy = overridden(
    inOpt("kube-proxy.yaml"),
    "config",
    {
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      clientConnection: { kubeconfig },
    },
    kubeProxy.config,
  );
  // Without a default before 1.27; then the same by default.
  const runtime = atLeast(spec.versions.kubernetes, "1.27")
    ? {}
    : { "container-runtime-endpoint": "unix:///run/containerd/containerd.sock" };
  const labels = Object.entries(host.labels).map(([name, value]) => `${name}=${value}`);
  const routes = spec.workers
    .filter(({ name }) => name !== host.name)
    // A protocol of ours, so that they are found again.
    .map((other) => `ExecStart=ip route replace ${podSubnet(spec, other)} via ${other.address} proto 112`);
  return concat(
    ...(host.isWorker
      ? [
          unit("kubelet", {
            flags: { ...runtime, ...(labels.length > 0 && { "node-labels": labels.join(",") }), ...kubelet.flags },
            files: [{ path: inOpt("kubelet.yaml"), content: yaml(merge(kubeletConfig(spec, host), kubelet.config)) }],
            inputs: [placed("kubelet"), kubeconfig],
            probe: registered(spec, host),
          }),
        ]
      : []),
    unit("kube-proxy", {
      flags: { ...proxy.flags, ...kubeProxy.flags },
      files: proxy.files,
      inputs: [placed("kube-proxy"), kubeconfig],
      probe: "curl -sf http://127.0.0.1:10256/healthz",
    }),
    routes.length > 0
      ? unit("plainkube-routes", {
          content: fill(read("plainkube-routes.service"), { ROUTES: routes.join("\n") }),
          inputs: [],
        })
      : { files: [], units: [] },
  );
}

/** Working means registered. The one client certificate is nowhere but in the kubeconfig. */
function registered({ apiEndpoint }: ClusterSpec, host: HostSpec): string {
  const field = (name: string) => `<(sed -n 's/.*${name}-data: //p' ${minimalKeys.kubeconfig} | base64 -d)`;
  const credentials = `--cert ${field("client-certificate")} --key ${field("client-key")}`;
  return `curl -sf --cacert ${field("certificate-authority")} ${credentials} ${apiEndpoint}/api/v1/nodes/${host.name}`;
}

/**
 * A config file, even an empty one, makes the kubelet refuse anonymous requests and ask the API about all others; with flags
 * alone it would let everybody in. Fields are those in which the configuration differs from upstream's defaults.
 */
function kubeletConfig({ runtime, versions }: ClusterSpec, host: HostSpec): Record<string, unknown> {
  const { cgroupDriver, allowCgroupV1, maxPods, evictionHard } = runtime;
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    ...(cgroupDriver !== "cgroupfs" && { cgroupDriver }),
    ...(allowCgroupV1 && atLeast(versions.kubernetes, "1.31") && { failCgroupV1: false }),
    ...(maxPods !== runtimeDefaults.maxPods && { maxPods }),
    ...(!isDeepStrictEqual(evictionHard, runtimeDefaults.evictionHard) && { evictionHard }),
    ...(host.taints.length > 0 && { registerWithTaints: host.taints }),
  };
}
