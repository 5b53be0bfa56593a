import { glob, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { supportedVersions } from "../components/versions.ts";
import { prepare, projectDirectory, stackConfig } from "../lab/stack.ts";
import { installPackages } from "../toolchain/apt.ts";
import { buildRecipe, hostArch, recipe, withBuildCaches } from "../toolchain/modules.ts";
import { which } from "../toolchain/run.ts";
import { browserPackage, findBrowser } from "./browser.ts";
import { figuresVariable, summarize } from "./figures.ts";

/**
 * `npm test [-- PATH…]`: makes everything ready that the tests need, then runs all test files (or those below the paths)
 * two at a time. `npm run test:all` runs the long ones, too: every Kubernetes version.
 */

const began = performance.now();
const log = (line: string): void => {
  console.error(`[${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s] ${line}`);
};

/** Programs that tests call, and the Debian packages that hold them. */
const programs = { shellcheck: "shellcheck", sshd: "openssh-server", "ssh-agent": "openssh-client" };

async function installPrograms(): Promise<void> {
  const missing = Object.entries(programs).filter(([program]) => which(program, ["/usr/sbin"]) === undefined);
  await installPackages(
    [...missing.map(([, name]) => name), ...(findBrowser() ? [] : [browserPackage])],
    "npm test",
    log,
  );
}

/** The one that no other cluster with kubelets may run beside goes first, with all that has none beside it. */
const order = [
  ...[
    "e2e/preflight",
    "checks",
    "unit",
    "components",
    "toolchain",
    "conformance",
    "plugin",
    "e2e/api-only",
    "e2e/explore",
  ],
  ...["lab", "e2e/cluster", "e2e/faults", "e2e/full", "e2e/teardown", "e2e/minimal"],
];

async function testFiles(below: readonly string[]): Promise<string[]> {
  const roots = below.length > 0 ? below : [...order, ...(all ? ["long"] : [])].map((what) => `tests/${what}`);
  const files: string[] = [];
  for (const root of roots) {
    const patterns = root.endsWith(".ts") ? [root] : [`${root}.test.ts`, `${root}/**/*.test.ts`];
    const found = await Array.fromAsync(glob(patterns, { cwd: projectDirectory }));
    if (found.length === 0) {
      console.error(`plainkube: no test file at ${root}; expected a path like tests/unit`);
      process.exit(1);
    }
    files.push(...found.sort());
  }
  return files;
}

const all = process.argv.includes("--all");
const files = await testFiles(process.argv.slice(2).filter((argument) => argument !== "--all"));
await installPrograms();
const plugin = await withBuildCaches(async () => {
  const dev = await stackConfig("dev");
  await prepare(dev, log);
  if (files.some((file) => file.includes("e2e/") || file.includes("long/"))) {
    for (const stack of ["full", "minimal", "api-only"]) await prepare(await stackConfig(stack), log);
    if (files.some((file) => file.includes("long/"))) {
      // As versions.test.ts and choices.test.ts have them.
      const flannel = { "plainkube:network": { podNetwork: "flannel" } };
      for (const kubernetes of Object.keys(supportedVersions))
        await prepare({ ...dev, ...flannel, "plainkube:versions": { kubernetes } }, log);
    }
    await buildRecipe(recipe("etcd-decode"), { arch: hostArch(), log });
  }
  return buildRecipe(recipe("plugin-command"), { arch: hostArch(), log });
});
log(`running ${files.length} test files`);
const gathered = await mkdtemp(join(tmpdir(), "plainkube-figures-"));
const figures = join(gathered, "figures");
await writeFile(figures, "");
Object.assign(process.env, {
  ...(all && { PLAINKUBE_ALL_VERSIONS: "1" }),
  PATH: `${join(projectDirectory, "node_modules/.bin")}:${process.env.PATH}`,
  PLAINKUBE_COMMAND_PLUGIN: plugin["pulumi-resource-command"]?.path,
  [figuresVariable]: figures,
});
// Two at a time, in this order: a cluster mostly waits.
const results = run({
  files: files.map((file) => join(projectDirectory, file)),
  concurrency: 2,
  cwd: projectDirectory,
});
results.on("test:fail", () => {
  process.exitCode = 1;
});
let counts = { passed: 0, failed: 0 };
results.on("test:summary", ({ file, counts: { passed, tests, skipped, todo } }) => {
  // The one of all files.
  if (file === undefined) counts = { passed, failed: tests - passed - skipped - todo };
});
for await (const text of results.compose(spec)) process.stdout.write(text);
for (const line of summarize(figures)) console.log(line);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
await rm(gathered, { recursive: true });
