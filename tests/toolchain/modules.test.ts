import assert from "node:assert/strict";
import * as fs from "node:fs/promises";
import { join, relative } from "node:path";
import { test } from "node:test";
import { cacheRoot } from "../../toolchain/cache.ts";
import {
  buildRecipe,
  compareVersions,
  findGo,
  hostArch,
  type Recipe,
  recipe,
  recipes,
  withBuildCaches,
} from "../../toolchain/modules.ts";
import { ensurePulumi } from "../../toolchain/pulumi.ts";
import { pluginVersions } from "../../toolchain/pulumi-releases.ts";
import { run } from "../../toolchain/run.ts";
import { memory, useTemporary } from "./temporary.ts";

const t = useTemporary();
const toolchain = join(import.meta.dirname, "../../toolchain");

async function module(source: string): Promise<Recipe> {
  const dir = join(t.dir, "module");
  await fs.mkdir(dir, { recursive: true });
  await fs.writeFile(join(dir, "go.mod"), "module example.test/tool\n\ngo 1.22\n");
  await fs.writeFile(join(dir, "main.go"), source);
  return {
    name: "tool",
    version: "9.9.9",
    dir: relative(toolchain, dir),
    packages: { renamed: "example.test/tool" },
    set: { "main.version": "9.9.9" },
    disk: 0.01,
  };
}

const printsVersion = 'package main\n\nvar version = "unset"\n\nfunc main() { print(version) }\n';

test("a recipe is built once, static, with its variables, and then comes from the cache", async () => {
  const what = await module(printsVersion);
  const { lines, log } = memory();
  const { renamed } = await buildRecipe(what, { arch: hostArch(), log });
  assert.ok(renamed);
  const { promise, resolve } = Promise.withResolvers<string>();
  await run(renamed.path, [], { timeout: 10_000, onLine: resolve });
  assert.equal(await promise, "9.9.9");
  assert.ok(!(await fs.readFile(renamed.path, "latin1")).includes("ld-linux"), "static: it names no loader");
  assert.match(lines.at(-1) ?? "", /^built tool 9\.9\.9 in \d+ s$/);
  const told = lines.length;
  assert.deepEqual(await buildRecipe(what, { arch: hostArch(), log }), { renamed });
  assert.equal(lines.length, told);
  assert.deepEqual(await fs.readdir(join(cacheRoot(), "tmp")), []);
});

test("a module that does not compile is told with the compiler's lines and what to do", async () => {
  const what = await module("package main\n\nfunc main() { undefinedName() }\n");
  await assert.rejects(
    buildRecipe(what, { arch: hostArch(), log: () => {} }),
    /building tool 9\.9\.9 failed: [\s\S]*undefined: undefinedName[\s\S]*What to do: /,
  );
});

test("a sum that is missing from go.sum stops the build", async () => {
  const what = await module('package main\n\nimport _ "example.test/other"\n\nfunc main() {}\n');
  await assert.rejects(buildRecipe(what, { arch: hostArch(), log: () => {} }), /example\.test\/other/);
});

test("a missing or too old Go is told with the version that is needed", async () => {
  const goMod = join(t.dir, "go.mod");
  await fs.writeFile(goMod, "module x\n\ngo 9.99\n");
  await assert.rejects(findGo(goMod), /Go: got 1\.[\d.]+ \(.*\), expected 9\.99 or newer; install Go 9\.99 or newer/);
});

test("build caches live in the cache and go when the outermost work is done, but not when it fails", async () => {
  const caches = join(cacheRoot(), "build");
  const there = async () => (await fs.readdir(cacheRoot()).catch(() => [] as string[])).includes("build");
  await fs.mkdir(join(caches, "go-mod", "locked"), { recursive: true });
  await fs.writeFile(join(caches, "go-mod", "locked", "file"), "x");
  await fs.chmod(join(caches, "go-mod", "locked"), 0o500);
  await assert.rejects(
    withBuildCaches(() => Promise.reject(new Error("failed"))),
    /failed/,
  );
  assert.equal(await there(), true);
  await withBuildCaches(async () => {
    await withBuildCaches(async () => {});
    assert.equal(await there(), true);
  });
  assert.equal(await there(), false);
});

test("versions compare by number", () => {
  assert.ok(compareVersions("v3.256.0", "3.99.9") > 0);
  assert.ok(compareVersions("1.9", "1.26") < 0);
  assert.equal(compareVersions("1.26", "1.26.0"), 0);
});

test("each recipe has its go.mod with the version that it names", async () => {
  for (const { name, version, dir } of recipes) {
    const goMod = await fs.readFile(join(toolchain, dir, "go.mod"), "utf8");
    // Plugins and images are modules of our own, or named otherwise upstream.
    if (/^(plugin-|plainkube-receive|pause|workload|volume-helper|kubelet-serving-approver)/.test(name)) continue;
    assert.ok(goMod.includes(` v${version}`), `${dir}/go.mod names v${version}`);
  }
  assert.throws(
    () => recipe("etcd", "1.0.0"),
    /etcd 1\.0\.0: cannot be built from modules; expected version 3\.6\.8 or 3\.5\.7/,
  );
});

async function fakePulumi(version: string): Promise<{ readonly bin: string; readonly calls: () => Promise<number> }> {
  const bin = join(t.dir, "bin");
  const log = join(t.dir, "calls");
  await fs.mkdir(bin, { recursive: true });
  await fs.writeFile(log, "");
  await fs.writeFile(join(bin, "pulumi"), `#!/bin/sh\necho "$@" >>${log}\necho ${version}\n`, { mode: 0o755 });
  await fs.writeFile(join(bin, "pulumi-language-nodejs"), "#!/bin/sh\n", { mode: 0o755 });
  const home = join(t.dir, "home");
  for (const [plugin, wanted] of Object.entries(pluginVersions)) {
    const dir = join(home, "plugins", `resource-${plugin}-v${wanted}`);
    await fs.mkdir(dir, { recursive: true });
    await fs.writeFile(join(dir, `pulumi-resource-${plugin}`), "");
  }
  process.env.PATH = `${bin}:${process.env.PATH}`;
  process.env.PULUMI_HOME = home;
  return { bin, calls: async () => (await fs.readFile(log, "utf8")).split("\n").length - 1 };
}

test("an installed Pulumi that fits is used as it is, and asked for its version once", async () => {
  const { bin, calls } = await fakePulumi("v3.260.1");
  const first = await ensurePulumi(() => assert.fail("there is nothing to do"));
  assert.equal(first.PULUMI_HOME, join(t.dir, "home"));
  assert.equal(first.PATH?.split(":")[1], bin);
  assert.ok(first.PATH?.split(":")[0]?.endsWith(join("node_modules", ".bin")), "the project's Node comes first");
  assert.deepEqual(await ensurePulumi(() => {}), first);
  assert.equal(await calls(), 1);
});
