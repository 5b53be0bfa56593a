import { spawn } from "node:child_process";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { type FoundStack, findStack } from "../explore/stack.ts";
import { projectDirectory } from "../lab/stack.ts";
import { run } from "../toolchain/run.ts";
import { compare, type Finding, readyToMend } from "./hosts.ts";
import { type PlacedHost, placedHosts } from "./stored.ts";

const usage = `npm run drift -- [OPTION…]: compares every host with what the last \`up\` has put there, and changes nothing

  --stack NAME        the stack; default $PULUMI_STACK, else dev
  --config-file FILE  its file; default Pulumi.NAME.yaml, or the lab's copy of it
  --repair            then puts it there again, by \`pulumi up\`

ends with 0 without a difference, 1 with one, 2 where a host could not be compared`;

const log = (line: string): void => console.error(line);

interface Found {
  readonly host: PlacedHost;
  readonly finding: Finding;
}

async function placed(stack: string, { env }: FoundStack): Promise<PlacedHost[]> {
  const exported = await run("pulumi", ["stack", "export", "--show-secrets", "--stack", stack, "--non-interactive"], {
    cwd: projectDirectory,
    env,
    timeout: 60_000,
  }).catch((error: Error) => {
    throw new Error(
      `the stack ${stack} cannot be read; expected one that \`pulumi up\` has made. Name another: npm run drift -- --stack NAME\n${error.message}`,
    );
  });
  const hosts = placedHosts(exported);
  if (hosts.length > 0) return hosts;
  throw new Error(`the stack ${stack} has no hosts; expected one that \`pulumi up\` has made. Run 'pulumi up' first`);
}

const look = (hosts: readonly PlacedHost[]): Promise<Found[]> =>
  Promise.all(hosts.map(async (host) => ({ host, finding: await compare(host) })));

/** The lines that tell what was found on a host. */
function tell(finding: Finding): string[] {
  switch (finding.kind) {
    case "unprepared":
      return ["nothing of this cluster is there: it was reset or replaced"];
    case "unreachable":
      return [`cannot be compared: ${finding.reason}`];
    case "compared":
      return finding.differences.length > 0 ? finding.differences.map(({ text }) => text) : ["as the last up left it"];
  }
}

/** Prints what was found; returns the exit code. */
function report(found: readonly Found[]): number {
  for (const one of found) for (const line of tell(one.finding)) console.log(`${one.host.name}: ${line}`);
  if (found.some(({ finding }) => finding.kind === "unreachable")) return 2;
  return found.every(({ finding }) => finding.kind === "compared" && finding.differences.length === 0) ? 0 : 1;
}

/** Puts again what differs, by an `up` that has to replace what notes it. */
async function repair(stack: string, { env, fileArguments }: FoundStack, found: readonly Found[]): Promise<void> {
  const lost = found.find(({ host, finding }) => host.isControlPlane && finding.kind === "unprepared");
  if (lost) {
    throw new Error(
      `${lost.host.name} was the control plane, and etcd's data are gone with it: nothing that is left can be mended. Restore a backup of /var/lib/plainkube, or run 'pulumi destroy', then 'pulumi up'`,
    );
  }
  const again = found.flatMap(({ host, finding }) => {
    if (finding.kind === "unreachable") return [];
    const placed = finding.kind === "compared" ? finding.differences.map((d) => d.placed) : host.placed;
    const claims = finding.kind === "unprepared" ? host.claims : [];
    // Controllers read files of the phase before theirs, and may have run with what was there instead.
    const isFirst = placed.some(({ name }) => name === "control-plane");
    const after = isFirst ? host.placed.filter(({ name }) => name === "controllers") : [];
    return [...claims, ...new Set([...placed, ...after].map(({ urn }) => urn))];
  });
  for (const { host, finding } of found) await readyToMend(host, finding);
  const options = ["--yes", "--skip-preview", "--stack", stack, ...fileArguments];
  const args = ["up", ...options, ...again.flatMap((urn) => ["--replace", urn])];
  const up = spawn("pulumi", args, { cwd: projectDirectory, env, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = (await once(up, "close")) as [number | null];
  if (code !== 0) throw new Error("pulumi up failed; its message stands above. Correct the cause and repair again");
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      stack: { type: "string", default: process.env.PULUMI_STACK || "dev" },
      "config-file": { type: "string" },
      repair: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const { stack } = values;
  const where = await findStack({ stack, configFile: values["config-file"], log });
  const hosts = await placed(stack, where);
  const found = await look(hosts);
  const code = report(found);
  if (code === 0 || !values.repair) {
    if (code === 1) console.log(`Put it there again with: npm run drift -- --stack ${stack} --repair`);
    return code;
  }
  await repair(stack, where, found);
  return report(await look(hosts));
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`plainkube: ${(error as Error).message}`);
  process.exitCode = 2;
}
