import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInstance, destroyInstance, insideLan, type LabInstance, runOnHost } from "../../lab/instance.ts";
import { must, sleep } from "../../lab/shell.ts";
import { LabStack, prepare, projectDirectory } from "../../lab/stack.ts";
import { noteFigures } from "../figures.ts";

export const controlPlaneUnits = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
export const workerUnits = ["plainkube-containerd", "plainkube-images", "kubelet", "kube-proxy", "plainkube-routes"];

/** Whether the tests run that take long, too (`npm run test:all`). */
export const isLongRun = process.env.PLAINKUBE_ALL_VERSIONS === "1";

export interface TestClusterOptions {
  /** Tells this test's instance of the lab from those of others; short, as names of network links hold it. */
  readonly label: string;
  /** The stack's configuration; the keys and known hosts of the instance are put into it. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * Whether no other cluster with kubelets runs beside it. Kubelets of all labs of a machine set the same kernel settings, so
   * that only such a cluster can see whether it gives them back. Default: false.
   */
  readonly alone?: boolean;
  /** Host → its systemd units, without `.service`. Default: those of stack dev. */
  readonly units?: Readonly<Record<string, readonly string[]>>;
}

/** A stack on an instance of the lab of its own: real hosts, real binaries, the real engine. */
export class TestCluster {
  readonly instance: LabInstance;
  readonly stack: LabStack;
  /** The configuration that the stack was made with. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly units: Readonly<Record<string, readonly string[]>>;
  /** What Pulumi has printed so far, a text a command. */
  readonly printed: string[] = [];
  readonly #alone: boolean;
  readonly #kubectl: string;
  readonly #recorded = new Map<string, string[]>();

  private constructor(
    instance: LabInstance,
    stack: LabStack,
    kubectl: string,
    config: Readonly<Record<string, unknown>>,
    units: Readonly<Record<string, readonly string[]>>,
    alone: boolean,
  ) {
    this.#alone = alone;
    this.instance = instance;
    this.stack = stack;
    this.#kubectl = kubectl;
    this.config = config;
    this.units = units;
  }

  /** Hosts and an empty stack, all left over from an earlier run removed; each host is recorded as it is. */
  static async make(options: TestClusterOptions): Promise<TestCluster> {
    // A clone's own, so that tests of several clones run side by side.
    const clone = createHash("sha256").update(projectDirectory).digest("hex").slice(0, 4);
    const name = `${options.label}-${clone}`;
    const directory = join(projectDirectory, ".lab", name);
    const log = (line: string) => console.error(`# ${line}`);
    await destroyInstance(name, directory, log);
    await must(["rm", "-rf", directory]);
    const { kubectl } = await prepare(options.config, log);
    const { alone = false } = options;
    const isWorker = (host: { roles: string[] }) => host.roles.includes("worker");
    await mkdir(join(projectDirectory, ".lab"), { recursive: true });
    if (alone) await writeFile(aloneFile, String(process.pid));
    else if ((options.config["plainkube:hosts"] as { roles: string[] }[]).some(isWorker)) await waitForAlone();
    const config = {
      ...options.config,
      "plainkube:ssh": { privateKeyFile: `.lab/${name}/id_ed25519`, knownHostsFile: `.lab/${name}/known_hosts` },
    };
    const hosts = options.config["plainkube:hosts"] as { name: string; address: string; roles: string[] }[];
    const instance = await createInstance({ name, directory, hosts, reachable: false, log });
    const stack = await LabStack.open({ instance, name: "dev", config, log });
    const units = hosts.map((host): [string, string[]] => [
      host.name,
      host.roles.includes("control-plane") ? [...controlPlaneUnits, ...workerUnits] : workerUnits,
    ]);
    const cluster = new TestCluster(
      instance,
      stack,
      kubectl,
      config,
      options.units ?? Object.fromEntries(units),
      alone,
    );
    await cluster.record();
    return cluster;
  }

  /** Notes each host as it is now: what `assertAsRecorded` compares with. */
  async record(): Promise<void> {
    const records = await Promise.all(this.hosts.map(async (host) => [host, await this.#record(host)] as const));
    for (const [host, record] of records) this.#recorded.set(host, record);
  }

  /** Removes the instance with all that belongs to it. */
  async remove(): Promise<void> {
    if (this.#alone) await rm(aloneFile, { force: true });
    await destroyInstance(this.instance.name, this.instance.directory, (line) => console.error(`# ${line}`));
    await must(["rm", "-rf", this.instance.directory]);
  }

  /** Names of the hosts. */
  get hosts(): string[] {
    return this.instance.hosts.map((host) => host.name);
  }

  /** Runs a command as root on a host and expects it to succeed; returns what it printed. */
  async onHost(host: string, command: string): Promise<string> {
    const result = await runOnHost(this.instance, host, command);
    assert.equal(result.code, 0, `\`${command}\` on ${host} ended with ${result.code}:\n${result.stderr}`);
    return result.stdout;
  }

  /** Runs Pulumi and expects it to succeed; returns what it printed. */
  async pulumi(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.stack.pulumi(args);
    this.printed.push(stdout, stderr);
    assert.equal(code, 0, `pulumi ${args.join(" ")} ended with ${code}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  up(...args: string[]): Promise<string> {
    return this.pulumi("up", "--yes", "--skip-preview", ...args);
  }

  /** Runs Pulumi's `up` and expects it to fail; returns what it printed. */
  async failingUp(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.stack.pulumi(["up", "--yes", "--skip-preview", ...args]);
    this.printed.push(stdout, stderr);
    assert.notEqual(code, 0, `pulumi up was expected to fail:\n${stdout}\n${stderr}`);
    return stdout + stderr;
  }

  /** The arguments with which kubectl reaches the API as the administrator, or by another kubeconfig. */
  async kubectlCommand(kubeconfig?: string): Promise<string[]> {
    const file = join(this.instance.directory, "kubeconfig");
    await writeFile(file, kubeconfig ?? String((await this.stack.outputs()).kubeconfig), { mode: 0o600 });
    return [...insideLan(this.instance), this.#kubectl, "--kubeconfig", file, "--cache-dir", `${file}.cache`];
  }

  /** Asks the API as the administrator; returns kubectl's output. */
  async kubectl(...args: string[]): Promise<string> {
    return must([...(await this.kubectlCommand()), ...args]);
  }

  /** A field of each pod of the proof. */
  async proofPods(field: string): Promise<string[]> {
    const path = `jsonpath={range .items[*]}{${field}}{"\\n"}{end}`;
    return (await this.kubectl("get", "pods", "-n", "plainkube-proof", "-o", path)).trim().split("\n");
  }

  /** The Service of the proof, as hosts and pods reach it. */
  async proofUrl(): Promise<string> {
    return `http://${(await this.stack.outputs()).serviceAddress}`;
  }

  /** The Service of the proof answers from each host, with pods of each worker. */
  async assertServiceAnswers(workers: readonly string[] = this.hosts): Promise<void> {
    const url = await this.proofUrl();
    for (const host of this.hosts) {
      const answers = await this.onHost(host, `for i in $(seq 40); do curl -sf --max-time 5 ${url}; echo; done`);
      const nodes = new Set([...answers.matchAll(/"node":"([^"]+)"/g)].map((m) => m[1]));
      assert.deepEqual([...nodes].sort(), workers, `answers on ${host}`);
    }
  }

  /** Unit → the id of its current run, on all hosts. */
  async invocations(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const [host, units] of Object.entries(this.units)) {
      for (const unit of units) {
        const id = await this.onHost(host, `systemctl show --property InvocationID --value ${unit}.service`);
        found.set(`${host} ${unit}`, id.trim());
      }
    }
    return found;
  }

  /** The units whose run is not the same any more. */
  async restartedSince(earlier: ReadonlyMap<string, string>): Promise<string[]> {
    return [...(await this.invocations())].filter(([unit, id]) => earlier.get(unit) !== id).map(([unit]) => unit);
  }

  /** A second `up` changes nothing and restarts nothing. */
  async assertNothingToDo(): Promise<void> {
    const earlier = await this.invocations();
    await this.up("--expect-no-changes");
    assert.deepEqual(await this.restartedSince(earlier), []);
  }

  /** Destroys the stack; each host is as it was before the first `up`. */
  async assertGivenBack(): Promise<void> {
    await this.pulumi("destroy", "--yes");
    await this.assertAsRecorded();
  }

  /** Each host is as it was recorded, fact by fact. */
  async assertAsRecorded(): Promise<void> {
    const differences = await Promise.all(
      this.hosts.map(async (host) => {
        const before = this.#recorded.get(host) ?? [];
        // What ends by itself, as a session that was cut off does, has a moment for it.
        for (let left = 10; ; left--) {
          const found = difference(before, await this.#record(host));
          if (found.length > 0 && left > 0) {
            await sleep(500);
            continue;
          }
          const changed = new Set(found.map((line) => line.slice(2)));
          noteFigures("teardowns", before.length, before.length - Math.min(changed.size, before.length));
          return found.map((line) => `${host} ${line}`);
        }
      }),
    );
    assert.deepEqual(differences.flat(), [], "the hosts differ from what they were (-) and are (+)");
  }

  async #record(host: string): Promise<string[]> {
    const script = await readFile(join(import.meta.dirname, "record-host.sh"), "utf8");
    const result = await runOnHost(this.instance, host, "bash -s", { input: script });
    assert.equal(result.code, 0, result.stderr);
    const lines = result.stdout.trimEnd().split("\n");
    const sections = new Set(lines.map((line) => line.split(" ")[0]));
    for (const section of recordSections) {
      assert.ok(sections.has(section), `the record of ${host} has no ${section}`);
    }
    return this.#alone ? lines : lines.filter((line) => !/^sysctl (kernel|vm|fs)\./.test(line));
  }
}

/** The lines that only one of two records has, or has more often. */
function difference(before: readonly string[], now: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of before) counts.set(line, (counts.get(line) ?? 0) + 1);
  for (const line of now) counts.set(line, (counts.get(line) ?? 0) - 1);
  return [...counts].filter(([, n]) => n !== 0).map(([line, n]) => `${n > 0 ? "-" : "+"} ${line}`);
}

/** Holds the process whose cluster is alone, while it is. */
const aloneFile = join(projectDirectory, ".lab", "alone");

/** Waits until no cluster is alone: for what would disturb it. */
export async function waitForAlone(): Promise<void> {
  for (;;) {
    const pid = await readFile(aloneFile, "utf8").catch(() => "");
    if (pid === "" || !existsSync(`/proc/${pid}`)) return;
    await sleep(500);
  }
}

/** What a record of a host holds at least. */
const recordSections = [
  ...["file", "node", "user", "group", "unit-file", "unit", "link", "address", "route", "route6", "rule", "rule6"],
  ...["mount", "namespace", "cgroup", "process", "socket", "sysctl"],
];
