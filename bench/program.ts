import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type LabInstance, runOnHost } from "../lab/instance.ts";
import { LabStack, prepare, projectDirectory } from "../lab/stack.ts";
import { changesOf, type Span, spansOf } from "./events.ts";
import { benchConfig, benchDirectory, benchHosts, benchStack, freshHosts, withHosts } from "./lab.ts";
import { type PulumiRun, runPulumi } from "./pulumi.ts";
import { processorOf, type Round } from "./round.ts";
import { renderTimeline } from "./timeline.ts";
import { between, trafficOf } from "./traffic.ts";

const flag = { "plainkube:overrides": { kubeScheduler: { flags: { v: 3 } } } };
const up = ["up", "--yes", "--skip-preview"];

/** `pulumi up`: first, without a change, with one flag and one host more; `preview` and `destroy`. Each from the start of the command to its end. */
export async function benchProgram({ parts, measurements, log }: Round, out: string): Promise<void> {
  const hosts = benchHosts(2);
  await prepare(await benchConfig(hosts), log);
  const instance = await freshHosts(hosts, log);
  const stack = await benchStack(instance, hosts, log);
  await firstUp({ instance, stack, measurements, out });
  if (!parts.has("changes")) return;
  const seconds = async (of: LabStack, args: readonly string[], cwd?: string) =>
    (await runPulumi(of, args, cwd ? { cwd } : {})).seconds;

  const empty = await emptyProgram(instance, log);
  await seconds(empty.stack, up, empty.folder);
  measurements.add("preview: empty program", await seconds(empty.stack, ["preview"], empty.folder));
  measurements.add("preview: no change", await seconds(stack, ["preview"]));
  measurements.add("up: empty program", await seconds(empty.stack, up, empty.folder));
  const before = await trafficOf(instance);
  measurements.add("up: no change", await seconds(stack, [...up, "--expect-no-changes"]));
  const unchanged = await trafficOf(instance);
  measurements.add("up: no change, SSH connections", total(between(before, unchanged).connections));

  measurements.add("one flag: pulumi up", await seconds(await benchStack(instance, hosts, log, flag), up));
  const changed = between(unchanged, await trafficOf(instance));
  measurements.add("one flag: pulumi up, SSH connections", total(changed.connections));

  await thirdHost({ measurements, log });
  measurements.add("destroy", await seconds(stack, ["destroy", "--yes", "--skip-preview"]));
}

const total = (connections: Readonly<Record<string, number>>): number =>
  Object.values(connections).reduce((sum, count) => sum + count, 0);

interface FirstUp extends Pick<Round, "measurements"> {
  readonly instance: LabInstance;
  readonly stack: LabStack;
  /** Folder for the timeline. */
  readonly out: string;
}

async function firstUp({ instance, stack, measurements, out }: FirstUp): Promise<void> {
  const before = await trafficOf(instance);
  let run: PulumiRun | undefined;
  const processor = await processorOf(instance, async () => {
    run = await runPulumi(stack, up);
  });
  if (run === undefined) throw new Error("pulumi up has not run");
  const { connections, sentBytes } = between(before, await trafficOf(instance));
  measurements.add("first up: pulumi", run.seconds);
  measurements.add("first up: pulumi, processor", processor.machine);
  measurements.add("first up: pulumi, processor of hosts", processor.hosts);
  measurements.add("first up: pulumi, processor of the engine's processes", run.usage.cpuSeconds);
  measurements.add("first up: pulumi, peak memory of the engine's processes", run.usage.peakRss);
  measurements.add("first up: pulumi, SSH connections", total(connections));
  measurements.add("first up: pulumi, SSH connections of one host", Math.max(...Object.values(connections)));
  measurements.add("first up: pulumi, sent", sentBytes);
  const spans = changesOf(spansOf(run.events));
  await writeFile(join(out, "timeline.svg"), renderTimeline("pulumi up, resource by resource", spans, run.seconds));
  await writeFile(
    join(out, "timeline.json"),
    JSON.stringify({ seconds: run.seconds, usage: run.usage, spans }, null, 1),
  );
  const { stdout } = await stack.pulumi(["stack", "export"]);
  measurements.add("state: size", Buffer.byteLength(stdout));
  measurements.add("state: resources", JSON.parse(stdout).deployment.resources.length);
}

/** A program without a resource, with a stack beside the other in the same backend. */
async function emptyProgram(instance: LabInstance, log: Round["log"]) {
  const folder = join(benchDirectory, "empty");
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const options = "  options: {typescript: false}\n";
  await writeFile(join(folder, "Pulumi.yaml"), `name: plainkube\nmain: index.ts\nruntime:\n  name: nodejs\n${options}`);
  await writeFile(join(folder, "package.json"), '{"type": "module"}\n');
  await writeFile(join(folder, "index.ts"), "export default {};\n");
  await symlink(join(projectDirectory, "node_modules"), join(folder, "node_modules"));
  return { folder, stack: await LabStack.open({ instance, name: "empty", config: {}, log }) };
}

/** One more worker for the cluster, and what of it the other hosts have felt. */
async function thirdHost({ measurements, log }: Pick<Round, "measurements" | "log">): Promise<void> {
  const three = benchHosts(3);
  const others = benchHosts(2).map(({ name }) => name);
  const instance = await withHosts(three, log);
  const stack = await benchStack(instance, three, log, flag);
  const before = await invocations(instance, others);
  const { seconds, events } = await runPulumi(stack, up);
  const after = await invocations(instance, others);
  measurements.add("third host: pulumi up", seconds);
  const touched = commandsOn(others, changesOf(spansOf(events)));
  if (touched.length > 0) log(`third host: commands on other hosts: ${touched.join(", ")}`);
  measurements.add("third host: pulumi up, commands on other hosts", touched.length);
  const restarted = [...after].filter(([unit, id]) => before.get(unit) !== id).map(([unit]) => unit);
  measurements.add("third host: pulumi up, units restarted on other hosts", restarted.length);
}

/** Names of the commands among these steps that ran on one of these hosts. */
export const commandsOn = (hosts: readonly string[], spans: readonly Span[]): string[] =>
  spans
    .filter(({ type }) => type.startsWith("command:"))
    .map(({ name }) => name)
    .filter((name) => hosts.some((host) => name.startsWith(`${host}-`) || name.endsWith(`-${host}`)));

/** `HOST UNIT` → the id of its current run, of all that plainkube runs there. */
async function invocations(instance: LabInstance, hosts: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const host of hosts) {
    const command = "systemctl show --property=Id,InvocationID --value etcd 'kube*.service' 'plainkube-*.service'";
    const { stdout } = await runOnHost(instance, host, command);
    for (const unit of stdout.trim().split("\n\n")) {
      const lines = unit.split("\n");
      found.set(`${host} ${lines.find((line) => line.endsWith(".service"))}`, lines.sort().join(" "));
    }
  }
  return found;
}
