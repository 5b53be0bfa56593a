import { mkdir, readdir, readFile, rmdir, statfs, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { repeated } from "../components/repeated.ts";
import { cacheRoot, withLock, writeAtomic } from "../toolchain/cache.ts";
import { ensureBase, remove } from "./base.ts";
import { findInstanceCgroups, instancesWithCgroups, processesIn, removeCgroups } from "./cgroups.ts";
import {
  consoleTail,
  diskFits,
  type Host,
  hostProcesses,
  prepareDisk,
  publicHostKey,
  startHost,
  stopHost,
} from "./host.ts";
import { exists, prepareMachine } from "./machine.ts";
import {
  ensureLan,
  ensureUplink,
  instancesWithLan,
  lanLinks,
  lanNamespace,
  portOf,
  problemWithAddress,
  refuseForeignNetwork,
  removeLan,
  removeUplink,
} from "./network.ts";
import { readRecord, recordedInstances, removeRecord, restoreMachine, writeRecord } from "./record.ts";
import { type CommandResult, lastLines, must, run, sleep } from "./shell.ts";

export type { CommandResult } from "./shell.ts";

/** A test host: its name and its IPv4 address in 10.90.23.0/24. */
export interface LabHost {
  readonly name: string;
  readonly address: string;
}

/** A set of running test hosts on a network of their own. */
export interface LabInstance {
  readonly name: string;
  /** Holds the client key and the known_hosts file. */
  readonly directory: string;
  readonly hosts: readonly LabHost[];
  /** Lets in as `root` and as `ops` (passwordless sudo) on every host. */
  readonly privateKeyFile: string;
  /** The hosts' pinned ed25519 keys, by address. */
  readonly knownHostsFile: string;
  /** Whether the machine itself reaches the hosts, without `insideLan`. */
  readonly reachable: boolean;
}

export interface LabOptions {
  /** 1 to 8 of a-z, 0-9 and `-`; unique on the machine. */
  readonly name: string;
  readonly directory: string;
  readonly hosts: readonly LabHost[];
  /** Whether the machine gets the address 10.90.23.254 on the instance's network; one instance at a time can have that. */
  readonly reachable: boolean;
  /** Receives a line of progress for every step that takes long. */
  readonly log: (line: string) => void;
}

type Log = LabOptions["log"];

/** How long a host may take from power-on to its first SSH session, in seconds. */
const BOOT_SECONDS = 60;
/** How long a host may take to stop its services and go down for a reboot, in seconds. */
const SHUTDOWN_SECONDS = 120;

/**
 * Makes the instance as described, or completes and repairs it: hosts that run well are left alone, those that are off are
 * switched on, those that are not listed any more are removed. Returns when all hosts answer SSH.
 * Throws on bad options, without root, if a clone elsewhere has an instance of this name, or if a host does not come up.
 */
export async function createInstance(options: LabOptions): Promise<LabInstance> {
  validate(options);
  const { name, hosts, reachable, log } = options;
  const directory = resolve(options.directory);
  await prepareMachine(log);
  return withLock(`lab-${name}`, log, async () => {
    const base = await ensureBase(log);
    const previous = await readRecord(name);
    refuseOtherClone(name, previous?.directory, directory);
    const disks = previous?.disks ?? defaultDisks(name);
    if (reachable) await refuseForeignNetwork(name);
    await mkdir(disks, { recursive: true });
    await refuseOverlay(disks);
    await withLock("lab-machine", log, () => writeRecord({ name, directory, disks, hosts, reachable }));

    const instance: LabInstance = { name, directory, hosts, reachable, ...filesIn(directory) };
    const clientKey = await ensureClientKey(instance);
    const wanted = hosts.map((host) => ({ instance: name, disk: join(disks, host.name), ...host }));
    await removeOthers(name, disks, wanted, log);
    await ensureLan(name);
    if (reachable) await ensureUplink(name);
    else await removeUplink(name);

    const links = await lanLinks(name);
    const started: string[] = [];
    for (const host of wanted) {
      const well = links.includes(portOf(host.address)) && (await diskFits(host, clientKey));
      if (well && (await hostProcesses(host)).length > 0) continue;
      started.push(host.name);
      await stopHost(host);
      await prepareDisk(host, base, clientKey);
      await startHost(host);
    }
    if (started.length > 0) log(`starting ${started.join(", ")}`);
    await writeKnownHosts(instance, wanted);
    await Promise.all(wanted.map((host) => waitForSsh(instance, host)));
    return instance;
  });
}

/**
 * Removes the instance and everything of it, running or half-made, noted or not: processes, cgroups, network, disks, keys.
 * With the last instance of the machine, the kernel settings that hosts may have changed are restored.
 * Leaves the cached base image, and files in `directory` that are not the lab's.
 */
export async function destroyInstance(name: string, directory: string, log: Log): Promise<void> {
  const problem = problemWithName(name);
  if (problem) throw new Error(problem);
  await withLock(`lab-${name}`, log, async () => {
    const record = await readRecord(name);
    refuseOtherClone(name, record?.directory, resolve(directory));
    const cgroups = await findInstanceCgroups(name);
    if (cgroups.length > 0) log(`switching off instance ${name}`);
    await removeCgroups(cgroups);
    await removeLan(name);
    const disks = record?.disks ?? defaultDisks(name);
    await remove(disks);
    await removeIfEmpty(dirname(disks));
    const { privateKeyFile, knownHostsFile } = filesIn(resolve(directory));
    for (const file of [privateKeyFile, `${privateKeyFile}.pub`, knownHostsFile])
      await unlink(file).catch(ignoreMissing);
    await removeIfEmpty(resolve(directory));
    await withLock("lab-machine", log, async () => {
      await removeRecord(name);
      if ((await instanceNames()).length === 0) await restoreMachine();
    });
  });
}

/** The argv prefix that runs a command on this machine, with its files and environment, but in the instance's network. */
export function insideLan(instance: LabInstance): readonly string[] {
  return ["nsenter", `--net=${lanNamespace(instance.name)}`, "--"];
}

export interface RunOnHostOptions {
  /** Text for the command's standard input; default none. */
  readonly input?: string;
  /** Ends the session after so many seconds, with code 137; default no limit. */
  readonly timeoutSeconds?: number;
  /** Default `root`. */
  readonly user?: "root" | "ops";
}

/** Runs a shell command on a host by SSH, its key checked. Code 255 means that SSH failed: see `stderr`. */
export async function runOnHost(
  instance: LabInstance,
  host: string,
  command: string,
  options: RunOnHostOptions = {},
): Promise<CommandResult> {
  const { user = "root", ...rest } = options;
  const sshOptions = {
    BatchMode: "yes",
    ConnectTimeout: "10",
    GlobalKnownHostsFile: "/dev/null",
    HostKeyAlgorithms: "ssh-ed25519",
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    LogLevel: "ERROR",
    // A host without power sends no goodbye.
    ServerAliveInterval: "5",
    ServerAliveCountMax: "3",
    StrictHostKeyChecking: "yes",
    UserKnownHostsFile: instance.knownHostsFile,
  };
  const flags = Object.entries(sshOptions).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  const target = `${user}@${findHost(instance, host).address}`;
  return run(
    [...insideLan(instance), "ssh", "-F", "none", "-i", instance.privateKeyFile, ...flags, target, command],
    rest,
  );
}

/** Cuts a host's power. Its disk keeps what was written. */
export async function powerOff(instance: LabInstance, host: string): Promise<void> {
  await stopHost(await hostOf(instance, host));
}

/** Switches a host on, unless it is, and returns when it answers SSH. */
export async function powerOn(instance: LabInstance, host: string): Promise<void> {
  const target = await hostOf(instance, host);
  if ((await hostProcesses(target)).length === 0) {
    await stopHost(target);
    await startHost(target);
  }
  await waitForSsh(instance, target);
}

/** Lets a host go down in order and boot again; returns when it answers SSH. Network and cgroups start anew, as after a real reboot. */
export async function reboot(instance: LabInstance, host: string): Promise<void> {
  const target = await hostOf(instance, host);
  const before = await hostProcesses(target, "boot");
  // A moment later, so that the session ends well before the network goes.
  const later = "systemd-run --quiet --on-active=200ms --timer-property=AccuracySec=1ms systemctl reboot";
  const asked = await runOnHost(instance, host, later, { timeoutSeconds: 30 });
  if (asked.code !== 0) {
    throw new Error(`host ${host}: \`${later}\` ended with code ${asked.code}, expected 0: ${asked.stderr.trim()}`);
  }
  const deadline = Date.now() + SHUTDOWN_SECONDS * 1000;
  for (;;) {
    const now = new Set(await hostProcesses(target, "boot"));
    if (!before.some((id) => now.has(id))) break;
    if (Date.now() > deadline) {
      throw new Error(
        `host ${host}: not down ${SHUTDOWN_SECONDS} s after it was asked to reboot; ` +
          `expected it to boot again. Its console's last lines:\n${await consoleTail(target)}`,
      );
    }
    await sleep(100);
  }
  await waitForSsh(instance, target);
}

/** An instance as found on the machine, perhaps half-made or without a note of where it came from. */
export interface FoundInstance {
  readonly name: string;
  /** Undefined when the note of it is lost. */
  readonly directory: string | undefined;
  readonly hosts: readonly LabHost[];
  readonly reachable: boolean;
  /** Whether any of its processes runs. */
  readonly running: boolean;
}

/** All instances on the machine, whoever made them. */
export async function listInstances(): Promise<FoundInstance[]> {
  const found: FoundInstance[] = [];
  for (const name of await instanceNames()) {
    const record = await readRecord(name);
    const running = (await processesIn(await findInstanceCgroups(name))).length > 0;
    const { directory, hosts = [], reachable = false } = record ?? {};
    found.push({ name, directory, hosts, reachable, running });
  }
  return found;
}

async function instanceNames(): Promise<string[]> {
  const names = [await recordedInstances(), await instancesWithLan(), await instancesWithCgroups()];
  return [...new Set(names.flat())].sort();
}

function validate(options: LabOptions): void {
  const problems: (string | undefined)[] = [problemWithName(options.name)];
  if (options.hosts.length === 0) problems.push("hosts: got none; expected one at least");
  for (const { name, address } of options.hosts) {
    if (!/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(name)) {
      problems.push(`host name ${JSON.stringify(name)}: expected 1 to 40 of a-z, 0-9 and, in between, "-"`);
    }
    problems.push(problemWithAddress(address));
  }
  for (const key of ["name", "address"] as const) {
    const values = options.hosts.map((host) => host[key]);
    for (const value of repeated(values)) {
      problems.push(`host ${key} ${value}: given to more than one host; expected each once`);
    }
  }
  const found = problems.filter((problem) => problem !== undefined);
  if (found.length > 0) throw new Error(`lab ${options.name}: ${found.join("; ")}`);
}

function problemWithName(name: string): string | undefined {
  if (/^[a-z0-9-]{1,8}$/.test(name)) return undefined;
  return `instance name ${JSON.stringify(name)}: expected 1 to 8 of a-z, 0-9 and "-", since interfaces are named after it`;
}

function refuseOtherClone(name: string, recorded: string | undefined, directory: string): void {
  if (recorded === undefined || recorded === directory) return;
  throw new Error(
    `instance ${name} belongs to ${recorded}, not to ${directory}; take it down from there, or use another name`,
  );
}

// Container runtimes and the hosts' own root file system put an overlay on it, and an overlay cannot stand on another.
async function refuseOverlay(folder: string): Promise<void> {
  if ((await statfs(folder)).type !== 0x794c7630) return;
  throw new Error(
    `${folder} is on an overlay file system; expected a plain one (ext4, xfs …) for the hosts' disks. ` +
      "Set PLAINKUBE_CACHE to a folder on one, a volume for instance",
  );
}

function defaultDisks(name: string): string {
  return join(cacheRoot(), "lab", name);
}

function filesIn(directory: string): { privateKeyFile: string; knownHostsFile: string } {
  return { privateKeyFile: join(directory, "id_ed25519"), knownHostsFile: join(directory, "known_hosts") };
}

async function ensureClientKey(instance: LabInstance): Promise<string> {
  const { privateKeyFile, directory } = instance;
  const publicKeyFile = `${privateKeyFile}.pub`;
  if (!(await exists(privateKeyFile)) || !(await exists(publicKeyFile))) {
    await mkdir(directory, { recursive: true });
    for (const file of [privateKeyFile, publicKeyFile]) await unlink(file).catch(ignoreMissing);
    const comment = `plainkube-lab-${instance.name}`;
    await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", privateKeyFile]);
  }
  return (await readFile(publicKeyFile, "utf8")).trim();
}

async function writeKnownHosts(instance: LabInstance, hosts: readonly Host[]): Promise<void> {
  let text = "";
  for (const host of hosts) text += `${host.address} ${await publicHostKey(host)}\n`;
  const file = instance.knownHostsFile;
  if (!(await exists(file)) || (await readFile(file, "utf8")) !== text) await writeAtomic(file, text);
}

async function removeOthers(name: string, disks: string, wanted: readonly Host[], log: Log): Promise<void> {
  for (const other of await readdir(disks)) {
    if (wanted.some((host) => host.name === other)) continue;
    log(`removing host ${other}, which is not listed any more`);
    const disk = join(disks, other);
    await stopHost({ instance: name, name: other, address: "", disk });
    await remove(disk);
  }
}

async function waitForSsh(instance: LabInstance, host: Host): Promise<void> {
  const started = Date.now();
  for (;;) {
    // While the file exists, only root may log in: the boot is not done.
    const result = await runOnHost(instance, host.name, "test ! -e /run/nologin", { timeoutSeconds: 15 });
    if (result.code === 0) return;
    const waited = (Date.now() - started) / 1000;
    const off = waited > 3 && (await hostProcesses(host)).length === 0;
    if (off || waited > BOOT_SECONDS) {
      const what = off ? "is off again" : `does not answer SSH ${BOOT_SECONDS} s after its start`;
      throw new Error(
        `host ${host.name} (${host.address}) ${what}; expected a session as root. SSH says: ${lastLines(result.stderr, 3)}\n` +
          `Last lines of its console (${join(host.disk, "console.log")}):\n${await consoleTail(host)}\n` +
          "Destroy the instance and create it again if this remains",
      );
    }
    await sleep(150);
  }
}

function findHost(instance: LabInstance, name: string): LabHost {
  const host = instance.hosts.find((h) => h.name === name);
  if (host) return host;
  const names = instance.hosts.map((h) => h.name).join(", ");
  throw new Error(`instance ${instance.name} has no host ${name}; expected one of ${names}`);
}

async function hostOf(instance: LabInstance, name: string): Promise<Host> {
  const record = await readRecord(instance.name);
  const disk = join(record?.disks ?? defaultDisks(instance.name), name);
  return { instance: instance.name, disk, ...findHost(instance, name) };
}

async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes(error.code ?? "")) throw error;
  });
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}
