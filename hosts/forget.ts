import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { environmentOf, projectDirectory } from "../lab/stack.ts";
import { run } from "../toolchain/run.ts";
import { type Export, withoutAsking } from "./state.ts";

const usage = `npm run forget -- [--stack NAME] HOST[@ADDRESS]: for a host that is gone for ever. Nothing is asked of it any more when it is deleted: take it
out of the stack's file and run 'pulumi up', or run 'pulumi destroy'.

  --stack NAME  the stack; default $PULUMI_STACK, else dev`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { stack: { type: "string", default: process.env.PULUMI_STACK || "dev" }, help: { type: "boolean" } },
  });
  if (values.help) return console.log(usage);
  const [host, ...more] = positionals;
  if (host === undefined || more.length > 0) {
    throw new Error(`got ${positionals.join(" ") || "no host"}, expected the name of one host\n${usage}`);
  }
  const env = await environmentOf(values.stack, (line) => console.error(line));
  const pulumi = (...args: string[]) =>
    run("pulumi", ["stack", ...args, "--stack", values.stack], { cwd: projectDirectory, env, timeout: 60_000 });
  const state: Export = JSON.parse(await pulumi("export"));
  const changed = withoutAsking(state, host);
  // Secrets are encrypted in it.
  const folder = await mkdtemp(join(tmpdir(), "plainkube-forget-"));
  try {
    const file = join(folder, "state.json");
    await writeFile(file, JSON.stringify(changed), { mode: 0o600 });
    await pulumi("import", "--file", file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  console.log(
    `Nothing is asked of ${host} any more. See that the stack's file has this machine no more and run 'pulumi up', or run 'pulumi destroy'.\n` +
      `Its reset will not run: if the machine comes back, its units still run and its credentials are still good. Switch it off, or install it anew.\n` +
      "An 'up' with this machine still in the stack's file takes this back.",
  );
}

try {
  await main();
} catch (error) {
  console.error(`forget: ${(error as Error).message}`);
  process.exitCode = 1;
}
