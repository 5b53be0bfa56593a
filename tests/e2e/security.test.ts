import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "./harness.ts";
import { ProcessWatch } from "./secrets.ts";
import { securityTests } from "./security.ts";

/** Security on a cluster of its own, from its first `up` on. */

let cluster: TestCluster;
const watch = new ProcessWatch();

before(async () => {
  cluster = await TestCluster.make({ label: "se", config: await stackConfig("dev") });
});

after(async () => {
  watch.stop();
  await cluster.remove();
});

describe("what is said while it goes wrong", () => {
  test("is kept for the search: an up without a way in, and one with a unit that fails", async () => {
    const config = cluster.config["plainkube:ssh"] as object;
    const hosts = (cluster.config["plainkube:hosts"] as object[]).map((host) => ({ ...host, user: "nobody" }));
    await cluster.stack.configure({
      ...cluster.config,
      "plainkube:hosts": hosts,
      "plainkube:ssh": { ...config, dialAttempts: 1 },
    });
    assert.match(await cluster.failingUp(), /unable to authenticate/);
    const wrong = { kubeScheduler: { flags: { "feature-gates": "NoSuchGate=true" } } };
    await cluster.stack.configure({ ...cluster.config, "plainkube:overrides": wrong });
    assert.match(await cluster.failingUp(), /kube-scheduler\.service on node1 fails again and again/);
    await cluster.stack.configure(cluster.config);
    await cluster.up();
  });
});

securityTests(() => cluster, watch);
