import assert from "node:assert/strict";
import { after, before } from "node:test";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "./harness.ts";
import { driftTests, outageTests } from "./outages.ts";

/** Faults that meet a running cluster, on an instance of the lab of its own. */

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.make({ label: "oua", config: await stackConfig("dev") });
  assert.match(await cluster.up(), /created/);
});

after(() => cluster.remove());

outageTests(() => cluster);

driftTests(() => cluster);
