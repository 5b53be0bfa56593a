import assert from "node:assert/strict";
import { test } from "node:test";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "../e2e/harness.ts";
import { minimalUnits, Removals, reportLine } from "../e2e/removal.ts";

/**
 * That the system `minimal` is minimal: each flag of each unit, each unit and each file is taken away alone, a fixed check has
 * to fail, and to pass again with it put back. What each lack does is printed.
 */

for (const version of ["1.26.3", "1.36.3"]) {
  test(`everything in the system minimal is needed by Kubernetes ${version}`, async (t) => {
    const config = { ...(await stackConfig("minimal")), "plainkube:versions": { kubernetes: version } };
    const cluster = await TestCluster.make({ label: "ml", config, units: minimalUnits });
    try {
      await cluster.up();
      const removals = new Removals(cluster);
      await removals.open();
      t.diagnostic(`untouched: ${(await removals.control()).toFixed(1)} s`);
      const all = await removals.all();
      assert.ok(all.length > 40, `${all.length} parts`);
      const idle: string[] = [];
      for (const removal of all) {
        const outcome = await removals.without(removal);
        t.diagnostic(reportLine(removal, outcome));
        if (outcome.works) idle.push(removal.what);
      }
      assert.deepEqual(idle, [], "parts that nothing needs");
      t.diagnostic(`untouched, after all: ${(await removals.control()).toFixed(1)} s`);
    } finally {
      await cluster.remove();
    }
  });
}
