import { appendFile, mkdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createInstance, destroyInstance, type LabInstance, runOnHost } from "../lab/instance.ts";
import { lanNamespace, portOf } from "../lab/network.ts";
import { lastLines, must } from "../lab/shell.ts";
import { LabStack, prepare, projectDirectory, stackConfig } from "../lab/stack.ts";
import { fitLine } from "./scale-fit.ts";
import { type ScaleHost, scaleHosts } from "./scale-hosts.ts";
import { measure, type Taken } from "./scale-process.ts";

/**
 * `npm run bench -- scale`: first `up` of a control plane and 2, 4 and 8 workers on the lab, what one host more costs, and
 * whether it touches others.
 */
export interface ScaleOptions {
  /** Numbers of workers. Default: 2, 4, 8. */
  readonly workers?: readonly number[];
  /** With so many workers one more is added. Default: 4; 0 for never. */
  readonly addTo?: number;
  /** File that figures are appended to, a line of JSON a run; those of earlier runs in it count, too. Default: none. */
  readonly results?: string;
}

/** The figures of one `up`. */
interface Figures {
  readonly workers: number;
  readonly seconds: number;
  readonly resources: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
  readonly peakProcesses: number;
  readonly stateBytes: number;
  readonly hosts: readonly HostFigures[];
}

interface HostFigures {
  readonly host: string;
  /** SSH connections that sshd let in. */
  readonly sessions: number;
  /** Lines of its journal about connections that it refused because there were too many. */
  readonly refused: number;
  /** Bytes that reached its network card. */
  readonly received: number;
}

const name = "scale";
const directory = join(projectDirectory, ".lab", name);
const began = performance.now();
const log = (line: string): void => {
  console.error(`[${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s] ${line}`);
};

export async function scale({ workers = [2, 4, 8], addTo = 4, results }: ScaleOptions = {}): Promise<void> {
  const earlier = results === undefined ? "" : await readFile(results, "utf8").catch(() => "");
  const all: Figures[] = earlier
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
  for (const count of workers) {
    await firstUp(count, count === addTo, async (figures) => {
      all.push(figures);
      if (results !== undefined) await appendFile(results, `${JSON.stringify(figures)}\n`);
    });
  }
  printAll(all);
}

/** A first `up` on new hosts; then, if wanted, a second with one worker more. */
async function firstUp(workers: number, addOne: boolean, note: (figures: Figures) => Promise<void>): Promise<void> {
  await destroyInstance(name, directory, log);
  await rm(directory, { recursive: true, force: true });
  try {
    const { instance, stack } = await open(scaleHosts(workers));
    log(`pulumi up of ${workers} workers`);
    const { output: _, ...figures } = await up(instance, stack, workers);
    await note(figures);
    if (addOne) await add(workers, figures);
  } finally {
    await destroyInstance(name, directory, log);
    await rm(directory, { recursive: true, force: true });
  }
}

async function open(hosts: readonly ScaleHost[]): Promise<{ instance: LabInstance; stack: LabStack }> {
  const config = {
    ...(await stackConfig("dev")),
    "plainkube:hosts": hosts,
    "plainkube:ssh": {
      privateKeyFile: join(directory, "id_ed25519"),
      knownHostsFile: join(directory, "known_hosts"),
    },
  };
  await prepare(config, log);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const instance = await createInstance({ name, directory, hosts, reachable: false, log });
  return { instance, stack: await LabStack.open({ instance, name: "dev", config, log }) };
}

async function up(instance: LabInstance, stack: LabStack, workers: number): Promise<Figures & { output: string }> {
  const before = await lookAt(instance);
  const taken: Taken = await measure(stack.command(["up", "--yes", "--skip-preview", "--non-interactive"]), {
    cwd: projectDirectory,
    env: { ...process.env, ...stack.environment },
  });
  if (taken.code !== 0) {
    throw new Error(`pulumi up ended with code ${taken.code}, expected 0:\n${lastLines(taken.output, 40)}`);
  }
  const after = await lookAt(instance);
  const { seconds, cpuSeconds, peakMiB, peakProcesses, output } = taken;
  return {
    workers,
    seconds,
    resources: Number(/\+ (\d+) created/.exec(output)?.[1] ?? 0),
    cpuSeconds,
    peakMiB,
    peakProcesses,
    stateBytes: (await stat(join(directory, "state/.pulumi/stacks/plainkube/dev.json"))).size,
    hosts: after.map((now, i) => ({
      host: now.host,
      // Looking takes a connection, too, which was there the second time only.
      sessions: now.sessions - (before[i]?.sessions ?? 0) - 1,
      refused: now.refused - (before[i]?.refused ?? 0),
      received: now.received - (before[i]?.received ?? 0),
    })),
    output,
  };
}

/** What has happened to each host so far. */
async function lookAt(instance: LabInstance): Promise<HostFigures[]> {
  const links: { ifname: string; stats64: { tx: { bytes: number } } }[] = JSON.parse(
    await must(["nsenter", `--net=${lanNamespace(instance.name)}`, "ip", "-json", "-stats", "link"]),
  );
  const script =
    "journalctl --sync && journalctl --unit ssh --output cat | awk '/^Accepted / { n++ } /MaxStartups|drop connection|Connection throttl/ { m++ } END { print n + 0, m + 0 }'";
  return Promise.all(
    instance.hosts.map(async ({ name: host, address }) => {
      const shown = await runOnHost(instance, host, script);
      if (shown.code !== 0) throw new Error(`the journal of ${host} cannot be read: ${shown.stderr}`);
      const [sessions = 0, refused = 0] = shown.stdout.trim().split(" ").map(Number);
      // What leaves the bridge by a host's port reaches the host.
      const received = links.find(({ ifname }) => ifname === portOf(address))?.stats64.tx.bytes ?? 0;
      return { host, sessions, refused, received };
    }),
  );
}

/** One worker more in a stack that is up: what it costs, and what it does to the hosts that were there. */
async function add(workers: number, first: Figures): Promise<void> {
  const { instance, stack } = await open(scaleHosts(workers + 1));
  const others = instance.hosts.slice(0, -1);
  const runs = () => onEach(instance, others, "systemctl show --property InvocationID --value '*.service' | sort");
  const mark = "/run/before-scale";
  await onEach(instance, others, `touch ${mark}`);
  const before = await runs();
  log("pulumi up with one worker more");
  const second = await up(instance, stack, workers + 1);
  const after = await runs();
  const changed = await onEach(
    instance,
    others,
    `find /etc /opt /var/lib/plainkube/state -newer ${mark} -type f 2>/dev/null | sort`,
  );
  const oldOnes = second.hosts.slice(0, -1);
  console.log(`\nOne worker more, in a stack of ${workers}: ${second.seconds.toFixed(1)} s`);
  console.log(
    `  ${
      /Resources:\n([\s\S]*?)\n\n/
        .exec(second.output)?.[1]
        ?.trim()
        .replaceAll(/\s*\n\s*/g, "; ") ?? ""
    }`,
  );
  console.log(`  the new host: ${JSON.stringify(second.hosts.at(-1))}`);
  console.log(`  hosts that were there: ${oldOnes.reduce((sum, { sessions }) => sum + sessions, 0)} SSH connections,`);
  console.log(`    ${after.filter((text, i) => text !== before[i]).length} with a unit that runs anew,`);
  console.log(`    ${changed.filter((text) => text !== "").length} with a file that changed`);
  for (const text of changed.filter((one) => one !== "")) console.log(`      ${text.replaceAll("\n", " ")}`);
  console.log(`  state: ${second.stateBytes - first.stateBytes} bytes more`);
}

const onEach = (instance: LabInstance, hosts: LabInstance["hosts"], command: string): Promise<string[]> =>
  Promise.all(hosts.map(async ({ name: host }) => (await runOnHost(instance, host, command)).stdout.trim()));

const mebi = 2 ** 20;

function printAll(all: readonly Figures[]): void {
  const columns: readonly (readonly [string, (f: Figures) => number])[] = [
    ["seconds", (f) => f.seconds],
    ["resources", (f) => f.resources],
    ["CPU s", (f) => f.cpuSeconds],
    ["peak MiB", (f) => f.peakMiB],
    ["processes", (f) => f.peakProcesses],
    ["state KiB", (f) => f.stateBytes / 1024],
    ["SSH control", (f) => f.hosts[0]?.sessions ?? 0],
    ["SSH worker", (f) => Math.max(...f.hosts.slice(1).map(({ sessions }) => sessions))],
    ["SSH refused", (f) => f.hosts.reduce((sum, { refused }) => sum + refused, 0)],
    ["MiB to a worker", (f) => Math.max(...f.hosts.slice(1).map(({ received }) => received)) / mebi],
  ];
  const row = (title: string, values: readonly string[]) =>
    console.log(title.padEnd(8) + values.map((value, i) => value.padStart((columns[i]?.[0].length ?? 0) + 2)).join(""));
  console.log("");
  row(
    "workers",
    columns.map(([title]) => title),
  );
  const shown = (value: number) => (Number.isInteger(value) ? String(value) : value.toFixed(1));
  for (const figures of all) {
    row(
      String(figures.workers),
      columns.map(([, of]) => shown(of(figures))),
    );
  }
  if (new Set(all.map(({ workers }) => workers)).size < 2) return;
  const lines = columns.map(([, of]) => fitLine(all.map((figures) => [figures.workers, of(figures)])));
  row(
    "each",
    lines.map(({ perHost }) => perHost.toFixed(1)),
  );
  row(
    "without",
    lines.map(({ base }) => base.toFixed(1)),
  );
}

/** The same from a command line. */
export async function scaleBy(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { workers: { type: "string" }, "add-to": { type: "string" }, results: { type: "string" } },
  });
  await scale({
    ...(values.workers && { workers: values.workers.split(",").map(Number) }),
    ...(values["add-to"] && { addTo: Number(values["add-to"]) }),
    ...(values.results && { results: values.results }),
  });
}

if (import.meta.main) await scaleBy(process.argv.slice(2));
