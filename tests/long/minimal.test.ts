import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterSchema } from "../../components/schema.ts";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "../e2e/harness.ts";
import { minimalUnits, Removals, reportLine } from "../e2e/removal.ts";

/**
 * That the system `minimal` is minimal: each flag of each unit, each unit and each file is taken away alone, a fixed check has
 * to fail, and to pass again with it put back. What each lack does is printed.
 */

/** The flags that the example sets for the lab's hosts. */
function labFlags(config: Readonly<Record<string, unknown>>): string[] {
  const overrides = clusterSchema.shape.overrides.parse(config["plainkube:overrides"]);
  const flags = Object.values(overrides).flatMap((over) => ("flags" in over ? Object.keys(over.flags) : []));
  return flags.map((flag) => ` --${flag}`);
}

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
      // What the lab's hosts need is no part of the system.
      const ofLab = labFlags(config);
      const all = (await removals.all()).filter(({ what }) => !ofLab.some((flag) => what.endsWith(flag)));
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
