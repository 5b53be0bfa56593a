import * as fs from "node:fs/promises";
import { basename, join } from "node:path";
import {
  cacheRoot,
  insert,
  type Log,
  readRecord,
  type StoredFile,
  withLock,
  withScratch,
  writeRecord,
} from "./cache.ts";
import { type Checksum, download } from "./download.ts";
import { run } from "./run.ts";

export type Arch = "amd64" | "arm64";

/** One official download and what is taken out of it. */
export interface ReleaseArtifact {
  /** As in settings that pin a checksum: `coredns`, or `coredns-arm64` for one architecture. */
  readonly name: string;
  readonly version: string;
  readonly arch: Arch;
  readonly url: string;
  /** Undefined if nobody whom we could ask has published one: such a download is refused until a setting pins it. */
  readonly checksum?: PublishedChecksum;
  /** Output name → path inside the archive; `members` of a single file is undefined, and its one output is `name`. */
  readonly members?: Readonly<Record<string, string>>;
}

export interface PublishedChecksum extends Checksum {
  /** Where the digest was read. */
  readonly readFrom: string;
}

export interface ReleaseOptions {
  /** Address that serves `<host>/<path>` of every official download. Default: the official hosts themselves. */
  readonly mirror?: string;
  /** SHA-256 set by the user; must hold in addition to the published one. */
  readonly pinned?: string;
  /** How a person would pin a checksum, for the error. */
  readonly setting: string;
}

/** The digest that identifies the download, or an error that names the setting to pin one. */
export function releaseChecksums(artifact: ReleaseArtifact, options: ReleaseOptions): [Checksum, ...Checksum[]] {
  const pinned = options.pinned && { algorithm: "sha256" as const, digest: options.pinned.toLowerCase() };
  if (artifact.checksum) return pinned ? [artifact.checksum, pinned] : [artifact.checksum];
  if (pinned) return [pinned];
  throw new Error(
    `${artifact.name} ${artifact.version} ${artifact.arch}: no checksum of ${artifact.url} is known, so it is not downloaded; ` +
      `expected a pinned one: set ${options.setting} to its SHA-256, or use the source "modules"`,
  );
}

/** Where the file lies on a mirror: the official address without its scheme, behind the mirror's. */
export function mirrored(url: string, mirror: string | undefined): string {
  if (mirror === undefined) return url;
  const { host, pathname } = new URL(url);
  return `${mirror.replace(/\/+$/, "")}/${host}${pathname}`;
}

/**
 * The files of a release in the cache: from the cache if they are there, else downloaded, verified and only then unpacked.
 * Returns output name → file.
 */
export async function obtainRelease(
  artifact: ReleaseArtifact,
  options: ReleaseOptions,
  log: Log,
): Promise<Readonly<Record<string, StoredFile>>> {
  const checksums = releaseChecksums(artifact, options);
  const key = `release:${checksums.map(({ algorithm, digest }) => `${algorithm}:${digest}`).join("+")}`;
  const members = artifact.members ?? { [artifact.name]: "" };
  const cached = async () => {
    const files = await readRecord(key);
    return files && Object.keys(members).every((name) => name in files) ? files : undefined;
  };
  const at = await cached();
  if (at) return at;
  const lock = `download-${artifact.name}-${artifact.version}-${artifact.arch}`;
  return withLock(lock, log, async () => {
    const other = await cached();
    if (other) return other;
    const url = mirrored(artifact.url, options.mirror);
    log(`downloading ${artifact.name} ${artifact.version} for ${artifact.arch} from ${new URL(url).host}`);
    const archive = join(cacheRoot(), "downloads", `${checksums[0].digest.slice(0, 16)}-${basename(artifact.url)}`);
    await download({ url, checksums, to: archive, log });
    const files = await withScratch((dir) => unpack(archive, artifact.members, artifact.name, dir));
    await writeRecord(key, files, { url, checksum: `${checksums[0].algorithm} ${checksums[0].digest}` });
    await fs.rm(archive, { force: true });
    return files;
  });
}

async function unpack(
  archive: string,
  members: ReleaseArtifact["members"],
  name: string,
  dir: string,
): Promise<Record<string, StoredFile>> {
  if (members === undefined) {
    const file = join(dir, name);
    await fs.rename(archive, file);
    return { [name]: await insert(file) };
  }
  const timeout = 5 * 60_000;
  // Some archives write ./bridge, others bridge: ask for the names as they are.
  const listed = (await run("tar", ["-tzf", archive], { timeout })).split("\n");
  const wanted = Object.values(members).map((path) => {
    const found = listed.find((entry) => entry.replace(/^\.\//, "") === path);
    if (found === undefined)
      throw new Error(`${basename(archive)}: no ${path} in the archive; expected it at that path`);
    return found;
  });
  await run("tar", ["-xzf", archive, "-C", dir, "--no-same-owner", ...wanted], { timeout });
  const files: Record<string, StoredFile> = {};
  for (const [output, path] of Object.entries(members)) files[output] = await insert(join(dir, path));
  return files;
}
