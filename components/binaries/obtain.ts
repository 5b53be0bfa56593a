import { existsSync } from "node:fs";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import {
  blobPath,
  cacheRoot,
  hashFile,
  insertCopy,
  type Log,
  lookup,
  type StoredFile,
  writeAtomic,
} from "../../toolchain/cache.ts";
import { compressed } from "../../toolchain/compress.ts";
import { whyUnreachable } from "../../toolchain/download.ts";
import { imageAround } from "../../toolchain/images.ts";
import { buildRecipe, findGo, recipe, recipes, withBuildCaches } from "../../toolchain/modules.ts";
import { mirrored, obtainRelease } from "../../toolchain/releases.ts";
import { type Arch, type Component, componentOf, releaseOf, supportedVersions, versionKey } from "../versions.ts";
import {
  type BinarySettings,
  type BinarySource,
  digestOf,
  imageOf,
  ownProgramOf,
  type Pin,
  pinnedBy,
  pinSetting,
  recipeName,
  recipeOf,
} from "./pins.ts";

export type DecidedSettings = BinarySettings & { readonly source: BinarySource };

interface AutoRecord {
  readonly source: BinarySource;
  /** Why it was taken and what was not. */
  readonly why: string;
  readonly mirror: string | null;
  readonly directory: string | null;
}

/**
 * Settings whose source is decided. `auto` takes the first that can be had of release, mirror, modules and directory,
 * says so, and remembers it in the cache, so that later runs decide the same without network; delete
 * `auto-source.json` there to decide anew. Throws if none can be had, with all reasons.
 */
export async function resolveSource(settings: BinarySettings, log: Log): Promise<DecidedSettings> {
  if (settings.source !== "auto") return { ...settings, source: settings.source };
  const path = join(cacheRoot(), "auto-source.json");
  const mirror = settings.mirror ?? null;
  const directory = settings.directory ?? null;
  const known = await readAuto(path);
  if (known && known.mirror === mirror && known.directory === directory) return { ...settings, source: known.source };
  const reasons: string[] = [];
  for (const source of ["release", "mirror", "modules", "directory"] as const) {
    const why = await whyNot(source, settings);
    if (why !== undefined) {
      reasons.push(`${source}: ${why}`);
      continue;
    }
    const record = { source, why: reasons.join("; ") || "it is the first choice", mirror, directory };
    // A decision under PLAINKUBE_OFFLINE is that run's own.
    if (process.env.PLAINKUBE_OFFLINE !== "1") {
      await writeAtomic(path, `${JSON.stringify(record satisfies AutoRecord, null, 2)}\n`);
    }
    log(`binaries come from ${source}${reasons.length > 0 ? ` (not ${reasons.join("; not ")})` : ""}`);
    return { ...settings, source };
  }
  throw new Error(
    `plainkube:binaries.source: got auto, but no source can be had; expected one of:\n  ${reasons.join("\n  ")}\nmake one of them available`,
  );
}

async function readAuto(path: string): Promise<AutoRecord | undefined> {
  const text = await fs.readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // Decided anew, and written over.
    return undefined;
  }
}

async function whyNot(source: BinarySource, settings: BinarySettings): Promise<string | undefined> {
  switch (source) {
    case "release":
      return firstUnreachable(undefined);
    case "mirror":
      return settings.mirror ? firstUnreachable(settings.mirror) : "plainkube:binaries.mirror is not set";
    case "modules":
      return findGo(join(import.meta.dirname, "../../toolchain", recipe("kubernetes").dir, "go.mod")).then(
        () => undefined,
        (error: Error) => error.message,
      );
    case "directory": {
      if (!settings.directory) return "plainkube:binaries.directory is not set";
      const stat = await fs.stat(settings.directory).catch(() => undefined);
      return stat?.isDirectory() ? undefined : `${settings.directory} is not a folder`;
    }
  }
}

async function firstUnreachable(mirror: string | undefined): Promise<string | undefined> {
  const versions = Object.values(supportedVersions)[0];
  if (versions === undefined) return "no version is supported";
  const urls = (["kubernetes-server", "etcd"] as const).map((component) =>
    mirrored(releaseOf(component, versions[versionKey[component]], "amd64").url, mirror),
  );
  return (await Promise.all(urls.map(whyUnreachable))).find((why) => why !== undefined);
}

/**
 * The files of all pins: from the cache, else downloaded, built or copied, and verified against the pin.
 * Throws on the first that cannot be had, saying what, what was expected and what to do.
 */
export async function obtain(
  pins: readonly Pin[],
  settings: BinarySettings,
  log: Log,
): Promise<Map<string, StoredFile>> {
  const decided = await resolveSource(settings, log);
  const files = new Map<string, StoredFile>();
  await withBuildCaches(async () => {
    for (const pin of inOrder(pins)) {
      if (files.has(pin.name))
        throw new Error(`${pin.name}: pinned twice, expected once; ask for one architecture at a time`);
      files.set(pin.name, await obtainOne(pin, decided, log));
    }
  });
  return files;
}

/** What `readyToSend` gives: the files by their pins' names, and what has to be there to send them. */
export interface Cargo {
  readonly files: ReadonlyMap<string, StoredFile>;
  /** The program that takes them on the host, and the file that holds it compressed. */
  readonly receiver: StoredFile & { readonly compressed: string };
}

/** The files of all pins as `obtain` gives them, each with its compressed form beside it, and the program that takes them. */
export async function readyToSend(pins: readonly Pin[], settings: BinarySettings, log: Log): Promise<Cargo> {
  const files = await obtain(pins, settings, log);
  for (const file of files.values()) await compressed(file, "zst", log);
  const receiver = await receiverFor(pins[0]?.arch ?? "amd64", settings, log);
  return { files, receiver: { ...receiver, compressed: await compressed(receiver, "gz", log) } };
}

/** From `binaries.directory` if it is there, under every source: it is the one program that needs a module from elsewhere under all of them. */
async function receiverFor(arch: Arch, { directory }: BinarySettings, log: Log): Promise<StoredFile> {
  const name = "plainkube-receive";
  const own = join(directory ?? "", name);
  if (directory && existsSync(own)) {
    await requireArch(own, { name, arch }, true);
    return insertCopy(own);
  }
  try {
    return only(await buildRecipe(recipe(name), { arch, log }), name);
  } catch (error) {
    throw new Error(
      `${(error as Error).message}\nwithout ${name} no host can be sent binaries: make that build possible (Go needs its proxy for one module), or put the program, built elsewhere, into plainkube:binaries.directory`,
    );
  }
}

// Recipes stand in the order in which a cluster needs them; images come last, as they hold programs.
function inOrder(pins: readonly Pin[]): Pin[] {
  const rank = (pin: Pin) => {
    if (imageOf(pin.name)) return recipes.length;
    const built = ownProgramOf(pin.name) ?? recipeName(componentOf(pin.name));
    return recipes.findIndex(({ name }) => name === built);
  };
  return [...pins].sort((a, b) => rank(a) - rank(b));
}

async function obtainOne(pin: Pin, settings: DecidedSettings, log: Log): Promise<StoredFile> {
  if (pin.digest.startsWith("file:")) return fromDirectory(pin, settings);
  const now = digestOf(pin.name, pin.version, pin.arch, settings);
  if (now !== pin.digest) {
    throw new Error(
      `${pin.name} ${pin.version} ${pin.arch}: got ${now} from the present settings and sources, expected ${pin.digest}; ` +
        "something changed since the pin was made: run the command again",
    );
  }
  const built = async (name: string) =>
    only(await buildRecipe(recipe(name, pin.version), { arch: pin.arch, log }), name);
  if (ownProgramOf(pin.name)) return built(pin.name);
  const image = imageOf(pin.name);
  if (image === undefined) return binary(pin.name, pin, settings, log);
  const program = image === "coredns" ? await binary("coredns", pin, settings, log) : await built(image);
  return imageAround(image, pin.version, pin.arch, program);
}

async function binary(name: string, pin: Pin, settings: DecidedSettings, log: Log): Promise<StoredFile> {
  const component = componentOf(name);
  const { version, arch } = pin;
  switch (settings.source) {
    case "release":
    case "mirror":
      return only(await release(component, pin, settings, log), name);
    case "modules":
      return only(await buildRecipe(recipeOf(component, version), { arch, log }), name);
    case "directory":
      return fromDirectory({ ...pin, name, digest: digestOf(name, version, arch, settings) }, settings);
  }
}

function release(component: Component, { version, arch }: Pin, settings: DecidedSettings, log: Log) {
  const pinned = pinnedBy(settings, component, arch);
  const options = {
    setting: pinSetting(component, arch),
    ...(pinned ? { pinned } : {}),
    ...(settings.source === "mirror" ? { mirror: mirrorOf(settings) } : {}),
  };
  return obtainRelease(releaseOf(component, version, arch), options, log);
}

function mirrorOf({ mirror }: BinarySettings): string {
  if (mirror) return mirror;
  throw new Error(
    "plainkube:binaries.mirror: got nothing, expected the address of a mirror; set it, or choose another source",
  );
}

function only(files: Readonly<Record<string, StoredFile>>, name: string): StoredFile {
  const file = files[name];
  if (file) return file;
  throw new Error(
    `${name}: got ${Object.keys(files).join(", ")}, expected ${name} among them; correct the tables of versions`,
  );
}

async function fromDirectory(pin: Pin, settings: DecidedSettings): Promise<StoredFile> {
  const sha256 = pin.digest.slice("file:sha256:".length);
  const cached = await fs.stat(blobPath(sha256)).catch(() => undefined);
  const at = cached && (await lookup({ sha256, size: cached.size }));
  if (at) return at;
  if (!settings.directory) throw new Error("plainkube:binaries.directory: got nothing, expected a folder; set it");
  const path = join(settings.directory, pin.name);
  await requireArch(path, pin);
  const got = await hashFile(path);
  if (got === sha256) return insertCopy(path);
  throw new Error(
    `${path}: wrong checksum: got sha256 ${got}, expected ${sha256}; put the right file there, or correct ${pinSetting(pin.name, pin.arch)}`,
  );
}

const elfMachines: Readonly<Record<number, string>> = { 62: "amd64", 183: "arm64" };

// A program for another processor would be found out on the host only, by a unit that does not start.
async function requireArch(path: string, { name, arch }: Pick<Pin, "name" | "arch">, isProgram = false): Promise<void> {
  const file = await fs.open(path).catch((error: Error) => {
    throw new Error(`${path}: cannot be read: ${error.message}; expected the ${arch} binary ${name}; put it there`);
  });
  try {
    const head = Buffer.alloc(20);
    await file.read(head, 0, head.length, 0);
    const isElf = head.toString("latin1", 0, 4) === "\x7fELF";
    if (!isElf && !isProgram) return;
    const got = (isElf && elfMachines[head.readUInt16LE(18)]) || "another architecture";
    if (got !== arch) throw new Error(`${path}: got a program for ${got}, expected ${arch}; put the right file there`);
  } finally {
    await file.close();
  }
}
