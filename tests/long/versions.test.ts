import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { supportedVersions } from "../../components/versions.ts";
import { prepare, stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "../e2e/harness.ts";

/** Kubernetes versions, one after the other on the same hosts: each from bare hosts to the proof, and back to bare hosts. */

const dev = await stackConfig("dev");
const withVersion = (kubernetes: string) => ({ ...dev, "plainkube:versions": { kubernetes } });
const versions = Object.keys(supportedVersions);
let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.make({ label: "ver", config: withVersion(versions[0] ?? "") });
});

// One that fails leaves bare hosts to the next.
afterEach(() => cluster.pulumi("destroy", "--yes"));

after(() => cluster.remove());

/** Makes the configuration that of a version; the instance's own settings stay. */
async function configure(kubernetes: string): Promise<void> {
  const config = { ...cluster.config, "plainkube:versions": { kubernetes } };
  await prepare(config, (line) => console.error(`# ${line}`));
  await cluster.stack.configure(config);
}

/** Every component is of this version, and the cluster does its work. */
async function assertWorks(version: string): Promise<void> {
  // A kubelet that was replaced says its version with its next status, every ten seconds.
  const said = `--for=jsonpath={.status.nodeInfo.kubeletVersion}=v${version}`;
  await cluster.kubectl("wait", "nodes", "node1", "node2", said, "--timeout=30s");
  const server = JSON.parse(await cluster.kubectl("get", "--raw", "/version"));
  assert.equal(server.gitVersion, `v${version}`);
  await cluster.assertServiceAnswers();
  for (const pod of await cluster.proofPods(".metadata.name")) {
    assert.notEqual(await cluster.kubectl("logs", "-n", "plainkube-proof", pod), "", `logs of ${pod}`);
  }
  const status = (path: string) =>
    cluster.onHost("node2", `curl -sk -o /dev/null -w '%{http_code}' https://10.90.23.41:6443${path}`);
  assert.equal(await status("/readyz"), "200");
  // Before 1.34 an anonymous request is known as such, and forbidden.
  assert.match(await status("/api/v1/namespaces"), /^40[13]$/);
}

for (const version of versions) {
  test(`Kubernetes ${version}: up, proof, nothing to do, and back`, async () => {
    await configure(version);
    await cluster.up();
    await assertWorks(version);
    await cluster.assertNothingToDo();
    await cluster.assertGivenBack();
  });
}

// Adjacent minors alone, as the upstream's version skew policy has it.
for (const [from, to] of [["1.35.4", "1.36.3"]] as const) {
  test(`an upgrade from ${from} to ${to} leaves the pods running`, async () => {
    await configure(from);
    await cluster.up();
    const pods = await cluster.proofPods(".metadata.uid");
    await configure(to);
    await cluster.up();
    await assertWorks(to);
    assert.deepEqual(await cluster.proofPods(".metadata.uid"), pods);
    await cluster.assertNothingToDo();
    await cluster.assertGivenBack();
  });
}
