import assert from "node:assert/strict";
import * as fs from "node:fs/promises";
import { join, relative } from "node:path";
import { test } from "node:test";
import { buildRecipe, hostArch } from "../../toolchain/modules.ts";
import { run } from "../../toolchain/run.ts";
import { memory, useTemporary } from "../toolchain/temporary.ts";

const t = useTemporary();
const toolchain = join(import.meta.dirname, "../../toolchain");

test("a recipe gives the tests of a package as a program, under the name that it says", async () => {
  const dir = join(t.dir, "module");
  await fs.mkdir(dir, { recursive: true });
  await fs.writeFile(join(dir, "go.mod"), "module example.test/suite\n\ngo 1.22\n");
  await fs.writeFile(join(dir, "main.go"), "package main\n\nfunc main() {}\n");
  const source =
    'package main\n\nimport "testing"\n\nvar version = "unset"\n\nfunc TestVersion(t *testing.T) { t.Log(version) }\n';
  await fs.writeFile(join(dir, "main_test.go"), source);
  const what = {
    name: "suite",
    version: "9.9.9",
    dir: relative(toolchain, dir),
    packages: { tool: "example.test/suite" },
    tests: { "own.test": "example.test/suite" },
    set: { "example.test/suite.version": "9.9.9" },
    disk: 0.01,
  };
  const built = await buildRecipe(what, { arch: hostArch(), log: memory().log });
  assert.deepEqual(Object.keys(built).sort(), ["own.test", "tool"]);
  const program = built["own.test"]?.path ?? "";
  assert.match(await run(program, ["-test.v"], { timeout: 30_000 }), /9\.9\.9\n--- PASS|--- PASS[\s\S]*9\.9\.9/);
});
