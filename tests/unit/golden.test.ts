/**
 * The exact bytes that reach a host, for a few clusters. They show a change in review; that the components understand the
 * files is proven by the end-to-end tests only.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { renderKubeconfig } from "../../components/access/kubeconfig.ts";
import { hasLocalPath } from "../../components/addons/storage/provisioner.ts";
import { renderLocalPath } from "../../components/addons/storage/render.ts";
import { renderCorefile } from "../../components/dns/render.ts";
import { unpacked } from "../../components/host/pack.ts";
import { modeOf, phaseScript } from "../../components/host/shipment.ts";
import { yaml } from "../../components/render.ts";
import type { ClusterSpec } from "../../components/spec.ts";
import { parts } from "../../components/system.ts";
import { renderUserProbe } from "../../components/users/render.ts";
import { customConfig, devConfig, exampleConfig, flannelConfig, specOf } from "./clusters.ts";
import { assertGolden } from "./golden.ts";
import { payloadsOf } from "./payloads.ts";

function hostFiles(spec: ClusterSpec): Record<string, string> {
  const files: Record<string, string> = {};
  const put = (path: string, content: string) => {
    assert.ok(!(path in files), `${path} is rendered twice`);
    files[path] = content;
  };
  for (const host of spec.hosts) {
    const payloads = Object.entries(payloadsOf(spec, host));
    for (const { path, content } of payloads.flatMap(([, p]) => p.files)) put(`${host.name}${path}`, content);
    // Modes, inputs and probes decide as much as contents.
    const plan = payloads.map(([phase, p]) => [
      phase,
      { modes: Object.fromEntries(p.files.map((f) => [f.path, f.mode ?? modeOf(f.path)])), units: p.units },
    ]);
    put(`${host.name}/plan.yaml`, yaml(Object.fromEntries(plan)));
  }
  if (parts[spec.system].has("dns")) put("Corefile", renderCorefile(spec));
  const pair = { cert: "not a certificate", key: "no key" };
  const users = spec.users.map(({ name }) => ({ name, ...pair }));
  put("kubeconfig.yaml", renderKubeconfig(spec, "not a CA", [{ name: "someone", ...pair }, ...users]));
  if (users.length > 0) put("users.txt", renderUserProbe(spec, { name: "someone", ...pair }, users));
  if (hasLocalPath(spec.addons)) {
    for (const [name, content] of Object.entries(renderLocalPath(spec))) put(`local-path/${name}`, content);
  }
  return files;
}

test("every file of stack dev", () => assertGolden("dev", hostFiles(specOf(devConfig()))));

test("every file of a cluster that overrides what it can", () =>
  assertGolden("custom", hostFiles(specOf(customConfig()))));

test("every file of the API alone, with its users", () =>
  assertGolden("api-only", hostFiles(specOf(exampleConfig("api-only")))));

test("every file of the system minimal", () => assertGolden("minimal", hostFiles(specOf(exampleConfig("minimal")))));

test("the system minimal says nothing that is so anyway, and follows what it is told", async () => {
  const { overrides, runtime, versions, ...plain } = exampleConfig("minimal");
  const servers = hostFiles(specOf({ ...plain, runtime: { cgroupDriver: "cgroupfs" } }));
  assert.equal(
    servers["node2/opt/k8s/kubelet.yaml"],
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
  );
  assert.doesNotMatch(servers["node2/opt/k8s/containerd.toml"] ?? "", /oom|cgroup/i);
  const { users, apiServer, addons, kubelet, ...custom } = customConfig();
  const { dnsDomain, kubeProxyMode, ...network } = custom.network as Record<string, unknown>;
  await assertGolden("minimal-custom", hostFiles(specOf({ ...custom, system: "minimal", network })));
});

test("every file that flannel adds to stack dev or changes in it", () => {
  const dev = hostFiles(specOf(devConfig()));
  const files = Object.entries(hostFiles(specOf(flannelConfig())));
  return assertGolden("flannel", Object.fromEntries(files.filter(([path, content]) => content !== dev[path])));
});

test("the script that ships a phase", async () => {
  const spec = specOf(devConfig());
  const worker = spec.hosts[1];
  assert.ok(worker);
  const { node } = payloadsOf(spec, worker);
  assert.ok(node);
  const secrets = [
    { path: "/etc/plainkube/pki/kubelet/ca.crt", content: "not a certificate\n", mode: "0644" },
    { path: "/etc/plainkube/pki/kubelet/serving.key", content: "not a key\n" },
  ];
  await assertGolden("phase-script", { "node2-node.txt": unpacked(phaseScript("node", node, secrets)) });
});
