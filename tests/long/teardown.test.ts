import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "../e2e/harness.ts";
import { makeHarbour, Others } from "../e2e/others.ts";

/**
 * As tests/e2e/teardown.test.ts, with nftables: the table of published ports is another runtime's, too. The cluster changes its netfilter
 * there and back, each time with a port of its own. The tests follow each other.
 */

let cluster: TestCluster;
let others: Others;
const network = (kubeProxyMode: string) => ({ ...cluster.config, "plainkube:network": { kubeProxyMode } });
const roles = (first: readonly string[]) => ({
  ...cluster.config,
  "plainkube:hosts": [
    { name: "node1", address: "10.90.23.41", roles: first },
    { name: "node2", address: "10.90.23.42", roles: ["worker"] },
  ],
});

before(async () => {
  cluster = await TestCluster.make({
    label: "tdl",
    config: { ...(await stackConfig("dev")), "plainkube:network": { kubeProxyMode: "nftables" } },
  });
  others = await Others.settle(cluster, "nftables");
  await cluster.record();
});

after(() => cluster.remove());

/** Rules for published ports on node1: of nftables, and of iptables. */
const ports = async () =>
  (
    await cluster.onHost(
      "node1",
      "nft list table ip cni_hostport | grep -c ' dport .* dnat to '; iptables-save 2>/dev/null | grep -c ' -j DNAT' || :",
    )
  ).trim();

test("a cluster with nftables publishes its ports beside another's", async () => {
  await cluster.up();
  await makeHarbour(cluster, "node1");
  await others.assertWork();
  assert.equal(await ports(), "2\n0");
});

test("a change to iptables takes away the cluster's own ports alone, and back again", async () => {
  await cluster.stack.configure(network("iptables"));
  await cluster.up();
  await others.assertWork();
  await makeHarbour(cluster, "node1");
  assert.match(await ports(), /^1\n[1-9]/);
  await cluster.stack.configure(network("nftables"));
  await cluster.up();
  await makeHarbour(cluster, "node1");
  assert.equal(await ports(), "2\n0");
});

test("a host that is no worker any more loses its ports alone, and can become one again", async () => {
  await cluster.kubectl("drain", "node1", "--ignore-daemonsets", "--delete-emptydir-data", "--force");
  await makeHarbour(cluster, "node1");
  await cluster.stack.configure(roles(["control-plane"]));
  await cluster.up();
  await others.assertWork();
  assert.equal(await ports(), "1\n0");
  await cluster.kubectl("delete", "node", "node1");
  await cluster.stack.configure(roles(["control-plane", "worker"]));
  await cluster.up();
  await makeHarbour(cluster, "node1");
  await cluster.assertServiceAnswers();
});

test("destroy gives the hosts back, and what others have there goes on", async () => {
  await cluster.assertGivenBack();
  await others.assertWork();
});
