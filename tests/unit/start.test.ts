import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { run } from "../../lab/shell.ts";
import { projectDirectory } from "./clusters.ts";

/** Runs JavaScript in a Node with these arguments, in the project's folder, and returns what it printed. */
async function node(args: readonly string[], script: string): Promise<string> {
  const { code, stdout, stderr } = await run([process.execPath, ...args, "-e", script], { cwd: projectDirectory });
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

const started = (script: string) => node(["--require=./components/start.cjs"], script);
const loaded = (name: string) => `Object.keys(require.cache).filter((path) => path.includes("/${name}/")).length`;

describe("the start of the program", () => {
  test("leaves out what only programs that serialize functions use, until it is used", async () => {
    const script = `
      const pulumi = require("@pulumi/pulumi");
      const before = ${loaded("pacote")};
      const { SyntaxKind, version } = require("typescript");
      const { Arborist } = require("@npmcli/arborist");
      console.log(JSON.stringify([typeof pulumi.ComponentResource, before, typeof SyntaxKind, version, typeof Arborist, ${loaded("pacote")} > 0]));`;
    const [component, before, kinds, version, arborist, after] = JSON.parse(await started(script));
    assert.deepEqual([component, before, kinds, arborist, after], ["function", 0, "object", "function", true]);
    assert.match(version, /^\d+\.\d+/);
  });

  test("keeps compiled code beside the modules", async () => {
    const directory = await started('console.log(require("node:module").getCompileCacheDir())');
    assert.ok(directory.startsWith(join(projectDirectory, "node_modules/.cache/plainkube")), directory);
    assert.ok(existsSync(directory));
  });

  test("has the SDK take no stack for a promise, and leaves those of errors", async () => {
    const script = `
      const { debuggablePromise } = require("@pulumi/pulumi/runtime/debuggable");
      const { CustomResource } = require("@pulumi/pulumi");
      const promise = debuggablePromise(Promise.resolve(1), "test");
      console.log(JSON.stringify([promise instanceof Promise, new Error("it").stack.includes("\\n    at "), typeof CustomResource]));`;
    assert.deepEqual(JSON.parse(await started(script)), [true, true, "function"]);
    const traced = `
      const from = require("node:module").createRequire(require.resolve("@pulumi/pulumi"));
      const held = Promise.resolve(1);
      from("@pulumi/pulumi/runtime/debuggable").debuggablePromise(held, "test");
      console.log(held._debugStackTrace.split("\\n").length);`;
    assert.deepEqual([Number(await started(traced)), Number(await node([], traced)) > 1], [1, true]);
  });

  test("sends debug messages together, in order with all others, and none gets lost at the end", async () => {
    const script = `
      const from = require("node:module").createRequire(require.resolve("@pulumi/pulumi"));
      const sent = [];
      from("@pulumi/pulumi/runtime/settings").getEngine = () => ({
        log(request, done) {
          sent.push([request.getSeverity(), request.getMessage()]);
          done();
        },
      });
      const log = from("@pulumi/pulumi/log");
      log.debug("a");
      log.debug("b");
      log.error("c");
      log.debug("d");
      log.debug("about a stream", undefined, 1);
      setTimeout(() => log.debug("e"), 200);
      log.debug("f");
      process.on("exit", () => console.log(JSON.stringify(sent)));`;
    const messages = [
      [0, "a\nb"],
      [3, "c"],
      [0, "d"],
      [0, "about a stream"],
      [0, "f"],
      [0, "e"],
    ];
    assert.deepEqual(JSON.parse(await started(script)), messages);
    const apart = messages.flatMap(([level, text]) =>
      String(text)
        .split("\n")
        .map((line) => [level, line]),
    );
    assert.deepEqual(JSON.parse(await node([], script)).length, apart.length);
  });

  test("leaves an error at the line of the TypeScript file that throws it", async () => {
    const script = `
      require("source-map-support/register");
      import("./components/spec.ts").then(({ parseCluster }) => {
        try { parseCluster({ hosts: 1 }, {}) } catch (error) { console.log(error.stack) }
      });`;
    assert.match(await started(script), /components\/spec\.ts:\d+:\d+/);
  });
});

describe("the program under the language host that can be built", () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "plainkube-run-"));
  });
  after(() => rm(folder, { recursive: true }));

  /** What is left of the variable by which the host asks for ts-node, when a project with these options is run. */
  async function typescriptIn(options: string): Promise<string> {
    await writeFile(join(folder, "Pulumi.yaml"), `name: test\nruntime:\n  name: nodejs\n${options}`);
    await writeFile(join(folder, "first.cjs"), "globalThis.first = true;\n");
    const script = `
      const run = require.resolve("@pulumi/pulumi/cmd/run");
      require.cache[run] = { id: run, filename: run, loaded: true, children: [], paths: [], exports: {} };
      process.chdir(${JSON.stringify(folder)});
      process.env.PULUMI_NODEJS_TYPESCRIPT = "true";
      require("${projectDirectory}/toolchain/language-nodejs/run.cjs");
      console.log(process.env.PULUMI_NODEJS_TYPESCRIPT, globalThis.first);`;
    return node([], script);
  }

  test("gets the options of its Pulumi.yaml", async () => {
    assert.equal(await typescriptIn(""), "true undefined");
    assert.equal(await typescriptIn("  options:\n    typescript: true\n"), "true undefined");
    const both = "  options:\n    typescript: false\n    nodeargs: --require=./first.cjs\n";
    assert.equal(await typescriptIn(both), "undefined true");
    await assert.rejects(typescriptIn("  options:\n    nodeargs: --inspect\n"), /Unknown option '--inspect'/);
  });
});
