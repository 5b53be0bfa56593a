import { readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { sleep } from "./shell.ts";

/** One mounted cgroup hierarchy. */
interface Hierarchy {
  readonly mountPoint: string;
  /** Where this process stands in it, as a folder below `mountPoint`. */
  readonly own: string;
}

export interface CgroupLayout {
  /** True on a machine with cgroup v2 only. */
  readonly unified: boolean;
  readonly hierarchies: readonly Hierarchy[];
}

/** Reads which cgroup hierarchies the machine has mounted, and where this process stands in each. */
export async function readLayout(): Promise<CgroupLayout> {
  const own = new Map<string, string>();
  for (const line of (await readFile("/proc/self/cgroup", "utf8")).trim().split("\n")) {
    const [, controllers = "", path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    own.set(controllers, path);
  }
  const hierarchies = new Map<string, Hierarchy>();
  for (const line of (await readFile("/proc/self/mountinfo", "utf8")).trim().split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root = "/", mountPoint = ""] = before.split(" ");
    const [type, , options = ""] = after.split(" ");
    if (type !== "cgroup" && type !== "cgroup2") continue;
    const names = options.split(",");
    const key =
      type === "cgroup2" ? "" : [...own.keys()].find((k) => k !== "" && k.split(",").every((c) => names.includes(c)));
    const path = key === undefined ? undefined : own.get(key);
    if (key === undefined || path === undefined || hierarchies.has(key)) continue;
    const below = root !== "/" && path.startsWith(root) ? path.slice(root.length) : path;
    hierarchies.set(key, { mountPoint, own: join(mountPoint, below) });
  }
  const unified = hierarchies.size === 1 && hierarchies.has("");
  if (hierarchies.size === 0) {
    throw new Error("no cgroup file system is mounted; expected /sys/fs/cgroup. Mount it, then try again");
  }
  return { unified, hierarchies: [...hierarchies.values()] };
}

/**
 * The folders, one a hierarchy, under which an instance's new cgroups are made. With v1 that is below the caller's own
 * cgroups, so that the hosts stay within limits set for it. With v2 it is the top: only there can all controllers be
 * handed down while the caller's processes stay where they are.
 */
export function instanceParents(layout: CgroupLayout): readonly string[] {
  return layout.hierarchies.map((h) => (layout.unified ? h.mountPoint : h.own));
}

/** Every cgroup folder of an instance, wherever in the hierarchies it was made. */
export async function findInstanceCgroups(instance: string): Promise<string[]> {
  return (await findAllCgroups()).filter((folder) => basename(folder) === cgroupName(instance));
}

/** The name of an instance's cgroup in each hierarchy; its hosts' are below. */
export function cgroupName(instance: string): string {
  return `pk-${instance}`;
}

/** The names of all instances that have a cgroup on this machine. */
export async function instancesWithCgroups(): Promise<string[]> {
  return [...new Set((await findAllCgroups()).map((folder) => basename(folder).slice(cgroupName("").length)))];
}

async function findAllCgroups(): Promise<string[]> {
  const found: string[] = [];
  const walk = async (directory: string): Promise<void> => {
    for (const child of await childCgroups(directory)) {
      if (child.startsWith(cgroupName(""))) found.push(join(directory, child));
      else await walk(join(directory, child));
    }
  };
  const { hierarchies } = await readLayout();
  await Promise.all(hierarchies.map((h) => walk(h.mountPoint)));
  return found;
}

/** Process ids in these cgroups and all below. */
export async function processesIn(cgroups: readonly string[]): Promise<number[]> {
  const ids = new Set<number>();
  const walk = async (directory: string): Promise<void> => {
    for (const id of (await readIfThere(join(directory, "cgroup.procs"))).split("\n"))
      if (Number(id) > 1) ids.add(Number(id));
    for (const child of await childCgroups(directory)) await walk(join(directory, child));
  };
  await Promise.all(cgroups.map(walk));
  return [...ids];
}

/** Kills every process in these cgroups and below, and removes the cgroups. Throws when that takes longer than 20 s. */
export async function removeCgroups(cgroups: readonly string[]): Promise<void> {
  const deadline = Date.now() + 20_000;
  await Promise.all(cgroups.map(thaw));
  for (;;) {
    const ids = await processesIn(cgroups);
    if (ids.length === 0 && (await removeEmpty(cgroups))) return;
    for (const id of ids) kill(id);
    if (Date.now() > deadline) {
      throw new Error(
        `cgroups ${cgroups.join(", ")}: processes ${ids.join(", ") || "(none)"} still there 20 s after SIGKILL; ` +
          "expected them gone. Look for what blocks them in the kernel (/proc/<id>/stack), then try again",
      );
    }
    await sleep(25);
  }
}

// A frozen v1 cgroup (a paused container) does not die of SIGKILL before it is thawed.
async function thaw(directory: string): Promise<void> {
  if (await readIfThere(join(directory, "freezer.state"))) await writeFile(join(directory, "freezer.state"), "THAWED");
  for (const child of await childCgroups(directory)) await thaw(join(directory, child));
}

function kill(id: number): void {
  try {
    process.kill(id, "SIGKILL");
  } catch (error) {
    if (codeOf(error) !== "ESRCH") throw error;
  }
}

async function removeEmpty(cgroups: readonly string[]): Promise<boolean> {
  const remove = async (directory: string): Promise<boolean> => {
    for (const child of await childCgroups(directory)) if (!(await remove(join(directory, child)))) return false;
    try {
      await rmdir(directory);
      return true;
    } catch (error) {
      if (codeOf(error) === "ENOENT") return true;
      if (codeOf(error) === "EBUSY") return false;
      throw error;
    }
  };
  return (await Promise.all(cgroups.map(remove))).every(Boolean);
}

async function childCgroups(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory, { withFileTypes: true })).filter((e) => e.isDirectory()).map((e) => e.name);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

async function readIfThere(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (isGone(error)) return "";
    throw error;
  }
}

// cgroups vanish while they are read; the kernel then says ENODEV for files that are open. cgroup.procs of a threaded
// v2 cgroup cannot be read (EOPNOTSUPP): its processes are listed in the domain above.
function isGone(error: unknown): boolean {
  return ["ENOENT", "ENODEV", "EOPNOTSUPP"].includes(codeOf(error) ?? "");
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
