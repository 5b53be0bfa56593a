import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { clusterSchema } from "../../components/schema.ts";
import { configPage, projectFile } from "../../docs/generate.ts";
import { projectDirectory } from "./clusters.ts";

const read = (path: string) => readFile(join(projectDirectory, path), "utf8");
/** Tables as they are read: the formatter pads their columns. */
const words = (page: string) =>
  page
    .replace(/-{3,}/g, "---")
    .replace(/ *\| */g, "|")
    .trim();

test("docs/config.md is what the schema says", async () => {
  assert.equal(words(await read("docs/config.md")), words(configPage()), "run `npm run docs`");
});

test("Pulumi.yaml is what the schema says", async () => {
  const file = await read("Pulumi.yaml");
  assert.equal(file, projectFile(file), "run `npm run docs`");
});

test("every setting is explained", () => {
  const page = configPage();
  for (const key of Object.keys(clusterSchema.shape)) assert.ok(page.includes(`\n## ${key}\n`), key);
  const unexplained = page.split("\n").filter((line) => /^\| `.*\|\s*\|$/.test(line));
  // What these are follows from Kubernetes' own words, or from the settings above them.
  const obvious =
    /`(hosts\[\]\.taints\[\]\.(key|value|effect)|ssh\.jump\.address|apiServer\.audit\.rules\[\]\.[\w.[\]]+|overrides\.\w+)`/;
  assert.deepEqual(
    unexplained.filter((line) => !obvious.test(line)),
    [],
  );
});
