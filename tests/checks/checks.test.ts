import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { run } from "../../lab/shell.ts";
import { projectDirectory } from "../../lab/stack.ts";

/** What holds for every source file, checked by the tools that are made for it. */

async function passes(...argv: string[]): Promise<void> {
  const { code, stdout, stderr } = await run(argv, { cwd: projectDirectory });
  assert.equal(code, 0, `${argv.join(" ").slice(0, 200)}\n${stdout}${stderr}`);
}

const files = (pattern: string) =>
  Array.fromAsync(
    glob(pattern, { cwd: projectDirectory, exclude: (path) => /(^|\/)(node_modules|\.lab|golden)(\/|$)/.test(path) }),
  );

describe("the sources", () => {
  test("are formatted and linted (biome)", () => passes("biome", "check", "--error-on-warnings", "."));
  test("have right types (tsc)", () => passes("tsc", "--noEmit"));
  test("have right types in the browser (tsc)", () => passes("tsc", "--noEmit", "--project", "explore/page"));
  test("hold sound shell scripts (shellcheck)", async () => {
    const scripts = [...(await files("**/*.sh")), ".ci/run"];
    assert.ok(scripts.length > 8, `found only ${scripts}`);
    await passes("shellcheck", ...scripts);
  });
  test("hold formatted Go (gofmt)", async () => {
    const { code, stdout } = await run(["gofmt", "-l", "toolchain"], { cwd: projectDirectory });
    assert.equal(code, 0);
    assert.equal(stdout, "");
  });
  test("keep index.ts a table of contents of 60 lines", async () => {
    const lines = (await readFile(join(projectDirectory, "index.ts"), "utf8")).trimEnd().split("\n");
    assert.ok(lines.length <= 60, `${lines.length} lines`);
  });
  test("switch no rule off", async () => {
    const sources = [...(await files("**/*.ts")), ...(await files("**/*.sh"))].filter(
      (f) => f !== "tests/checks/checks.test.ts",
    );
    for (const file of sources) {
      const text = await readFile(join(projectDirectory, file), "utf8");
      const off = text.match(/biome-ignore|@ts-(ignore|nocheck|expect-error)|shellcheck disable/);
      assert.equal(off?.[0], undefined, file);
    }
  });
});
