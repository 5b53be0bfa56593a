/** The script before the kubelet that removes the pod network's file, run for real beside a stand-in of kubectl. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { projectDirectory } from "./clusters.ts";
import { Sandbox } from "./sandbox.ts";

const script = readFileSync(join(projectDirectory, "components/kubelet/forget-network.sh"), "utf8");
const file = "/etc/plainkube/cni/net.d/10-containerd-net.conflist";
const template = "/etc/plainkube/cni/bridge.conflist.template";

/** Whether the file is there afterwards, where kubectl answers so; the template is a minute older or newer. */
function keeps(kubectl: string, templateAge: "older" | "newer" = "older"): boolean {
  const sandbox = new Sandbox();
  for (const dir of ["/etc/plainkube/cni/net.d", "/opt/plainkube/bin"]) mkdirSync(sandbox.at(dir), { recursive: true });
  writeFileSync(sandbox.at(file), '{ "ranges": [[{ "subnet": "10.244.1.0/24" }]] }\n');
  writeFileSync(sandbox.at(template), "");
  const at = Date.now() / 1000 + (templateAge === "newer" ? 60 : -60);
  utimesSync(sandbox.at(template), at, at);
  writeFileSync(sandbox.at("/opt/plainkube/bin/kubectl"), `#!/bin/sh\n${kubectl}\n`, { mode: 0o755 });
  const { status, stderr } = sandbox.run(script, "node1", "/etc/plainkube/kubeconfig/kubelet.yaml");
  assert.deepEqual([status, stderr], [0, ""]);
  return sandbox.read(file) !== undefined;
}

const answer = (cidr: string) =>
  `[ "$2 $6" = "/etc/plainkube/kubeconfig/kubelet.yaml --raw" ] && echo '{"spec":{"podCIDR":"${cidr}","podCIDRs":["${cidr}"]}}'`;

test("stays while template and pod CIDR are the same", () => assert.ok(keeps(answer("10.244.1.0/24"))));
test("stays while the API does not answer", () => assert.ok(keeps("echo 'connection refused' >&2; exit 1")));
test("goes with another template", () => assert.ok(!keeps(answer("10.244.1.0/24"), "newer")));
test("goes with another pod CIDR", () => assert.ok(!keeps(answer("10.244.1.0/25"))));
test("goes with a node that has no pod CIDR yet", () => assert.ok(!keeps("echo '{\"spec\":{}}'")));
test("goes with a node that is not there", () =>
  assert.ok(!keeps(`echo 'Error from server (NotFound): nodes "node1" not found' >&2; exit 1`)));
