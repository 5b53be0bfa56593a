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
  test(`everything in the system minimal is needed by Kubernetes ${version}`, async () => {
    const config = { ...(await stackConfig("minimal")), "plainkube:versions": { kubernetes: version } };
    const label = `m${version.split(".")[1]}`;
    const cluster = await TestCluster.make({ label, config, units: minimalUnits });
    const log = (line: string) => console.error(`# ${line}`);
    try {
      await cluster.up();
      const removals = new Removals(cluster);
      await removals.open();
      log(`${version}, untouched: ${(await removals.control()).toFixed(1)} s`);
      const all = await removals.all();
      assert.ok(all.length > 50, `${all.length} parts`);
      const problems: string[] = [];
      for (const removal of all) {
        try {
          const outcome = await removals.without(removal);
          log(reportLine(removal, outcome));
          if (outcome.works) problems.push(`nothing needs ${removal.what} on ${removal.host}`);
        } catch (error) {
          problems.push((error as Error).message);
          log(problems.at(-1) ?? "");
        }
      }
      log(`${version}, untouched, after all: ${(await removals.control()).toFixed(1)} s`);
      assert.deepEqual(problems, []);
    } finally {
      await cluster.remove();
    }
  });
}
