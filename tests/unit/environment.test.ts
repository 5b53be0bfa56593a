import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { environmentFile } from "../../lab/environment.ts";
import { run } from "../../lab/shell.ts";
import { projectDirectory } from "../../lab/stack.ts";

test("a lab's env file is for commands by hand, and not for those of the project", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "plainkube-environment-"));
  t.after(() => rm(folder, { recursive: true }));
  const environment = {
    PULUMI_STACK: "dev",
    PULUMI_BACKEND_URL: "file:///a b",
    PATH: `/ours:${process.env.PATH}`,
    TMPDIR: folder,
  };
  const file = join(folder, "env");
  await writeFile(file, environmentFile({ environment, file: "/stack.yaml" }, "/kubeconfig", "/bin of kubectl"));
  const program = join(folder, "print.mjs");
  const names = ["PULUMI_STACK", "PULUMI_BACKEND_URL", "KUBECONFIG", "PULUMI_HOME"];
  await writeFile(program, `for (const name of ${JSON.stringify(names)}) console.log(process.env[name] ?? "none");`);
  const { stdout, stderr } = await run(
    [
      "bash",
      "-c",
      `source "$1" && echo "$PULUMI_STACK $PULUMI_BACKEND_URL $PATH" && bash lab/run.sh "$2"`,
      "bash",
      file,
      program,
    ],
    { cwd: projectDirectory, env: { PATH: process.env.PATH, HOME: process.env.HOME, PULUMI_HOME: "/own" } },
  );
  assert.equal(stderr, "");
  const [byHand = "", ...inside] = stdout.trimEnd().split("\n");
  assert.match(byHand, /^dev file:\/\/\/a b \/bin of kubectl:\/ours:/);
  assert.deepEqual(inside, ["none", "none", "none", "/own"]);
});
