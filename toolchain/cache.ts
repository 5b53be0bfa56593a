import { createHash, randomBytes } from "node:crypto";
import { createReadStream, existsSync, readFileSync } from "node:fs";
import * as fs from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** Takes one line of progress, without a newline. */
export type Log = (line: string) => void;

/** What identifies a file's content. */
export interface Blob {
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

/** A file in the cache: read-only for its users, mode 0755. */
export interface StoredFile extends Blob {
  readonly path: string;
}

/**
 * The folder of everything that can be fetched or built again: `$PLAINKUBE_CACHE`, else `$XDG_CACHE_HOME/plainkube`,
 * else `~/.cache/plainkube`. It may be deleted at any time between runs, and any number of runs may share it.
 */
export function cacheRoot(): string {
  const own = process.env.PLAINKUBE_CACHE;
  if (own) return own;
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "plainkube");
}

/** Where the content with this SHA-256 lies, whether it is there or not. */
export function blobPath(sha256: string): string {
  return join(cacheRoot(), "blobs", sha256);
}

// A stored blob carries this time. A file of the right size and this time was not written to since it was verified,
// which spares hashing hundreds of megabytes on every run.
const verifiedAt = new Date("2000-01-01T00:00:00Z");

/** SHA-256 (or another algorithm of OpenSSL) of a file's content, in hex. */
export async function hashFile(path: string, algorithm = "sha256"): Promise<string> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}

/**
 * Moves a file into the cache: hashed, flushed to disk, renamed into place. The source must lie in a `scratch` folder,
 * so that the rename stays on one file system.
 */
export async function insert(source: string): Promise<StoredFile> {
  const file = await fs.open(source, "r+");
  try {
    await file.chmod(0o755);
    await file.sync();
  } finally {
    await file.close();
  }
  const sha256 = await hashFile(source);
  const { size } = await fs.stat(source);
  const path = blobPath(sha256);
  await fs.mkdir(dirname(path), { recursive: true });
  await fs.utimes(source, verifiedAt, verifiedAt);
  await fs.rename(source, path);
  return { path, sha256, size };
}

/** Copies a file that lies elsewhere into the cache. */
export async function insertCopy(source: string): Promise<StoredFile> {
  return withScratch(async (dir) => {
    const copy = join(dir, "copy");
    await fs.copyFile(source, copy);
    await fs.chmod(copy, 0o755);
    return insert(copy);
  });
}

/** The stored file with this content, or undefined. A damaged one is deleted, so that it is obtained again. */
export async function lookup(blob: Blob): Promise<StoredFile | undefined> {
  const path = blobPath(blob.sha256);
  const stat = await fs.stat(path).catch(() => undefined);
  if (stat === undefined) return undefined;
  if (stat.size === blob.size) {
    if (stat.mtimeMs === verifiedAt.getTime()) return { path, ...blob };
    if ((await hashFile(path)) === blob.sha256) {
      await fs.utimes(path, verifiedAt, verifiedAt);
      return { path, ...blob };
    }
  }
  await fs.rm(path, { force: true });
  return undefined;
}

/** Named results of one recipe or one download. */
export type Outputs = Readonly<Record<string, Blob>>;

interface CacheRecord {
  readonly outputs: Outputs;
  /** How it came to be, for people: tool versions, address. */
  readonly from: Readonly<Record<string, string>>;
}

const recordPath = (key: string) =>
  join(cacheRoot(), "recipes", `${createHash("sha256").update(key).digest("hex")}.json`);

/** The stored files of a record, or undefined if the record or any of its files is missing. */
export async function readRecord(key: string): Promise<Readonly<Record<string, StoredFile>> | undefined> {
  const path = recordPath(key);
  const text = await fs.readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  let record: CacheRecord & { key?: string };
  try {
    record = JSON.parse(text);
  } catch {
    // A torn file cannot happen by our own rename; whatever it was, it can be made again.
    await fs.rm(path, { force: true });
    return undefined;
  }
  const files: Record<string, StoredFile> = {};
  for (const [name, blob] of Object.entries(record.outputs)) {
    const file = await lookup({ sha256: blob.sha256, size: blob.size });
    if (file === undefined) return undefined;
    files[name] = file;
  }
  return files;
}

/** Remembers which blobs a recipe or a download gave. */
export async function writeRecord(key: string, outputs: Outputs, from: CacheRecord["from"]): Promise<void> {
  const plain = Object.fromEntries(Object.entries(outputs).map(([name, { sha256, size }]) => [name, { sha256, size }]));
  await writeAtomic(recordPath(key), `${JSON.stringify({ key, outputs: plain, from }, null, 2)}\n`);
}

/** Writes a small file so that a reader sees the old content or the new, never a part. */
export async function writeAtomic(path: string, content: string): Promise<void> {
  await fs.mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  await fs.writeFile(temporary, content, { flush: true });
  await fs.rename(temporary, path);
}

/** Runs `use` with an empty folder inside the cache, and removes it afterwards; leftovers of killed runs go too. */
export async function withScratch<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const parent = join(cacheRoot(), "tmp");
  await fs.mkdir(parent, { recursive: true });
  for (const name of await fs.readdir(parent)) {
    if (!isRunning(ownerOf(name))) await removeTree(join(parent, name));
  }
  const dir = await fs.mkdtemp(join(parent, `${self()}-`));
  try {
    return await use(dir);
  } finally {
    await removeTree(dir);
  }
}

/** Removes a folder with all that is in it, write-protected folders (as in a Go module cache) included. */
export async function removeTree(path: string): Promise<void> {
  try {
    await fs.rm(path, { recursive: true, force: true });
  } catch {
    // Another run may be clearing away the same leftovers.
    const entries = await fs.readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
    for (const entry of entries)
      if (entry.isDirectory()) await fs.chmod(join(entry.parentPath, entry.name), 0o700).catch(() => undefined);
    await fs.rm(path, { recursive: true, force: true });
  }
}

/** Throws if fewer than `bytes` are free where the cache lies. */
export async function requireFreeSpace(bytes: number, purpose: string): Promise<void> {
  const root = cacheRoot();
  await fs.mkdir(root, { recursive: true });
  const { bavail, bsize } = await fs.statfs(root);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new Error(
    `${purpose}: not enough disk space under ${root}: got ${gib(free)} free, expected ${gib(bytes)}; ` +
      "free some space, or set PLAINKUBE_CACHE to a folder on a larger disk",
  );
}

const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

export interface LockOptions {
  /** Milliseconds to wait for another run; default 45 minutes, longer than the longest build. */
  readonly timeout?: number;
  /** Milliseconds between progress lines while waiting; default 5000. */
  readonly progressEvery?: number;
}

/**
 * Runs `use` while no other run holds the lock of this name. A lock whose owner died is taken over.
 * Throws after the time-out, naming the owner.
 */
export async function withLock<T>(
  name: string,
  log: Log,
  use: () => Promise<T>,
  options: LockOptions = {},
): Promise<T> {
  const path = join(cacheRoot(), "locks", name);
  const timeout = options.timeout ?? 45 * 60_000;
  const progressEvery = options.progressEvery ?? 5_000;
  const started = Date.now();
  let reported = started;
  await fs.mkdir(dirname(path), { recursive: true });
  const mine = `${self()}-${randomBytes(4).toString("hex")}`;
  while (!(await acquire(path, mine))) {
    const now = Date.now();
    const owner = ownerOf(await fs.readFile(path, "utf8").catch(() => ""));
    if (now - started > timeout) {
      throw new Error(
        `${name}: another run (process ${owner.pid}) still holds the lock ${path} after ${seconds(now - started)}; ` +
          "expected it to finish; wait for it or end it, then run again",
      );
    }
    if (now - reported >= progressEvery) {
      reported = now;
      log(`waiting for another run (process ${owner.pid}) to finish ${name} … ${seconds(now - started)}`);
    }
    await sleep(100);
  }
  try {
    return await use();
  } finally {
    await release(path, mine);
  }
}

/** Runs `use` if nobody holds the lock of this name; else does nothing. */
export async function ifLockFree(name: string, use: () => Promise<void>): Promise<void> {
  const path = join(cacheRoot(), "locks", name);
  await fs.mkdir(dirname(path), { recursive: true });
  const mine = `${self()}-${randomBytes(4).toString("hex")}`;
  if (!(await acquire(path, mine))) return;
  try {
    await use();
  } finally {
    await release(path, mine);
  }
}

async function release(path: string, mine: string): Promise<void> {
  if ((await fs.readFile(path, "utf8").catch(() => "")) === mine) await fs.rm(path, { force: true });
}

/** Milliseconds as the whole seconds of progress lines: `42 s`. */
export function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 1000)} s`;
}

async function acquire(path: string, mine: string): Promise<boolean> {
  // A link appears complete with its content or not at all, unlike a file that is created and then written.
  const offer = `${path}.${mine}`;
  await fs.writeFile(offer, mine);
  try {
    await fs.link(offer, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await fs.rm(offer, { force: true });
  }
  const content = await fs.readFile(path, "utf8").catch(() => undefined);
  if (content !== undefined && !isRunning(ownerOf(content))) await removeStale(path, content);
  return false;
}

// Two waiting runs may see the same dead owner. Only one at a time may remove it, and only while it is still that owner:
// otherwise the slower one would remove the lock that the faster one has just taken.
async function removeStale(path: string, content: string): Promise<void> {
  const guard = `${path}.steal`;
  try {
    await fs.mkdir(guard);
  } catch {
    const age = Date.now() - ((await fs.stat(guard).catch(() => undefined))?.mtimeMs ?? Date.now());
    if (age > 10_000) await fs.rmdir(guard).catch(() => undefined);
    return;
  }
  try {
    if ((await fs.readFile(path, "utf8").catch(() => undefined)) === content) await fs.rm(path, { force: true });
  } finally {
    await fs.rmdir(guard).catch(() => undefined);
  }
}

interface Owner {
  readonly pid: number;
  readonly start: string;
}

// A process id alone may belong to someone else by now: its start time tells.
const startTime = (pid: number): string => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
  } catch {
    return "0";
  }
};

const self = () => `${process.pid}-${startTime(process.pid)}`;

function ownerOf(content: string): Owner {
  const [pid = "", start = "0"] = content.split("-");
  return { pid: /^\d+$/.test(pid) ? Number(pid) : 0, start };
}

function isRunning({ pid, start }: Owner): boolean {
  if (pid === 0) return false;
  if (existsSync("/proc/self/stat")) return startTime(pid) === start;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
