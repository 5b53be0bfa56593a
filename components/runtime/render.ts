import { readFileSync } from "node:fs";
import { linkOf, stagesOf } from "../binaries/stages.ts";
import { fillConfined } from "../confined.ts";
import type { Payload } from "../host/shipment.ts";
import { imageRefs } from "../images.ts";
import { podMtu } from "../network/mtu.ts";
import { binary, clusterLayout, paths } from "../paths.ts";
import { fill } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";

const read = (name: string): string => readFileSync(new URL(`./${name}`, import.meta.url), "utf8");

/** The pod network of a node, before containerd knows its pod CIDR. */
export const cniTemplate = `${paths.etc}/cni/bridge.conflist.template`;

/** containerd with its own root, socket and CNI folders, beside any other runtime of the host, and the images. */
export function renderRuntime(spec: ClusterSpec): Payload {
  const file = `${paths.etc}/containerd.toml`;
  const script = `${paths.scripts}/import-images`;
  const archives = stagesOf(spec)
    .runtime.filter((name) => name.endsWith(".tar"))
    .map((name) => linkOf(name, clusterLayout));
  return {
    files: [
      { path: `${paths.units}/plainkube-containerd.service`, content: read("plainkube-containerd.service") },
      { path: `${paths.units}/plainkube-images.service`, content: fillConfined(read("plainkube-images.service")) },
      { path: script, content: read("import-images.sh"), mode: "0755" },
      {
        path: file,
        content: fill(read("containerd.toml"), {
          PAUSE_IMAGE: imageRefs(spec.versions).pause,
          RESTRICT_OOM_SCORE_ADJ: String(spec.runtime.restrictOomScoreAdj),
          SYSTEMD_CGROUP: String(spec.runtime.cgroupDriver === "systemd"),
        }),
      },
      { path: cniTemplate, content: renderCniTemplate(spec) },
    ],
    units: [
      {
        name: "plainkube-containerd.service",
        inputs: [binary("containerd"), binary("containerd-shim-runc-v2"), binary("runc"), file, cniTemplate],
      },
      { name: "plainkube-images.service", inputs: [binary("ctr"), script, ...archives] },
    ],
  };
}

/** The pod network of a node. containerd fills in the node's pod CIDR when the kubelet tells it. */
function renderCniTemplate(spec: ClusterSpec): string {
  const network = {
    cniVersion: "1.0.0",
    name: "plainkube",
    plugins: [
      {
        type: "bridge",
        bridge: "plainkube0",
        isGateway: true,
        hairpinMode: true,
        mtu: podMtu(spec),
        ipam: {
          type: "host-local",
          dataDir: paths.cniCache,
          ranges: [[{ subnet: "{{.PodCIDR}}" }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
      { type: "portmap", backend: spec.network.kubeProxyMode, capabilities: { portMappings: true }, snat: true },
    ],
  };
  return `${JSON.stringify(network, null, 2)}\n`;
}
