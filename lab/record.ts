import { mkdir, readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomic } from "../toolchain/cache.ts";
import { namespacesMounted, unmountNamespaces } from "./network.ts";

/** Where the machine's instances are noted, for every user and clone on it. */
const RECORDS = "/run/plainkube-lab";
const INSTANCES = join(RECORDS, "instances");
const MACHINE = join(RECORDS, "machine.json");

/** The user's limit of inotify instances, shared by all hosts: each systemd, kubelet and containerd takes some. */
const INOTIFY_INSTANCES = "fs/inotify/max_user_instances";
const ENOUGH_INOTIFY_INSTANCES = 8192;

/** What the lab and kubelets set machine-wide, since these are not per namespace. */
const SYSCTLS = [
  INOTIFY_INSTANCES,
  "vm/overcommit_memory",
  "vm/panic_on_oom",
  "kernel/panic",
  "kernel/panic_on_oops",
  "kernel/keys/root_maxkeys",
  "kernel/keys/root_maxbytes",
];

/** What is noted of an instance. */
export interface InstanceRecord {
  readonly name: string;
  readonly directory: string;
  /** The folder of the hosts' disks. */
  readonly disks: string;
  readonly hosts: readonly { readonly name: string; readonly address: string }[];
  readonly reachable: boolean;
}

/** What the machine was like before the first instance. */
interface MachineRecord {
  readonly bootId: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly namespacesMounted: boolean;
}

export async function readRecord(name: string): Promise<InstanceRecord | undefined> {
  const text = await readIfThere(join(INSTANCES, `${name}.json`));
  return text === undefined ? undefined : (JSON.parse(text) as InstanceRecord);
}

export async function recordedInstances(): Promise<string[]> {
  return (await listIfThere(INSTANCES)).flatMap((file) => /^([a-z0-9-]+)\.json$/.exec(file)?.[1] ?? []);
}

/** Notes an instance; before the first one, what the machine is like without. */
export async function writeRecord(record: InstanceRecord): Promise<void> {
  await mkdir(INSTANCES, { recursive: true });
  const bootId = await bootIdOfMachine();
  if ((await readMachine())?.bootId !== bootId) {
    const sysctls: Record<string, string> = {};
    for (const name of SYSCTLS) {
      const value = await readIfThere(`/proc/sys/${name}`);
      if (value !== undefined) sysctls[name] = value.trim();
    }
    const machine: MachineRecord = { bootId, sysctls, namespacesMounted: await namespacesMounted() };
    await writeAtomic(MACHINE, JSON.stringify(machine));
    if (Number(sysctls[INOTIFY_INSTANCES]) < ENOUGH_INOTIFY_INSTANCES) {
      await writeFile(`/proc/sys/${INOTIFY_INSTANCES}`, String(ENOUGH_INOTIFY_INSTANCES));
    }
  }
  const file = join(INSTANCES, `${record.name}.json`);
  const text = JSON.stringify(record);
  if ((await readIfThere(file)) !== text) await writeAtomic(file, text);
}

export async function removeRecord(name: string): Promise<void> {
  await rm(join(INSTANCES, `${name}.json`), { force: true });
}

/** Gives the machine back as it was before the first instance. To be called when none is left. */
export async function restoreMachine(): Promise<void> {
  const machine = await readMachine();
  // After a reboot the machine has its own values again.
  if (machine?.bootId === (await bootIdOfMachine())) {
    for (const [name, value] of Object.entries(machine.sysctls)) {
      if ((await readFile(`/proc/sys/${name}`, "utf8")).trim() !== value) await writeFile(`/proc/sys/${name}`, value);
    }
    if (!machine.namespacesMounted) await unmountNamespaces();
  }
  await rm(MACHINE, { force: true });
  for (const folder of [INSTANCES, RECORDS]) {
    if ((await listIfThere(folder)).length === 0) await rmdir(folder).catch(ignoreMissing);
  }
}

async function readMachine(): Promise<MachineRecord | undefined> {
  const text = await readIfThere(MACHINE);
  return text === undefined ? undefined : (JSON.parse(text) as MachineRecord);
}

async function bootIdOfMachine(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

async function readIfThere(file: string): Promise<string | undefined> {
  return readFile(file, "utf8").catch(ignoreMissing);
}

async function listIfThere(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(ignoreMissing)) ?? [];
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
