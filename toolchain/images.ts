import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { dirname, join } from "node:path";
import { hashFile, insert, readRecord, type StoredFile, withScratch, writeRecord } from "./cache.ts";
import { recipe, recipeKey } from "./modules.ts";
import type { Arch } from "./releases.ts";
import { type TarEntry, writeTar } from "./tar.ts";

/** One file of an image: exactly one of `source`, `content` and `symlink`. */
export interface ImageFile {
  /** Absolute path in the image. Missing folders above it are made, 0755. */
  readonly path: string;
  /** Default 0644 for `content`, 0755 for `source`. */
  readonly mode?: number;
  /** A file of this machine. */
  readonly source?: string;
  /** SHA-256 of `source` if it is known; else it is hashed. */
  readonly sha256?: string;
  readonly content?: string;
  /** What the link points to. */
  readonly symlink?: string;
}

export interface ImageSpec {
  /** Full reference, as pods name it: `plainkube.local/pause:1.0.0`. */
  readonly ref: string;
  readonly arch: Arch;
  readonly files: readonly ImageFile[];
  readonly entrypoint: readonly string[];
  readonly cmd?: readonly string[];
  /** Name → value. */
  readonly env?: Readonly<Record<string, string>>;
  /** `uid` or `uid:gid`. Default: root. */
  readonly user?: string;
  /** Default: /. */
  readonly workdir?: string;
  /** Folders, as path → mode; for an empty one such as /tmp. */
  readonly dirs?: Readonly<Record<string, number>>;
}

export interface Image extends StoredFile {
  readonly ref: string;
}

const epoch = "1970-01-01T00:00:00Z";
const layerType = "application/vnd.oci.image.layer.v1.tar";
const configType = "application/vnd.oci.image.config.v1+json";
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const indexType = "application/vnd.oci.image.index.v1+json";
// Part of what identifies an image: raise it with every change of the bytes that this file writes.
const format = 1;

/**
 * An OCI archive of one image and one architecture, in the cache; `ctr images import` takes it. Equal specs over equal
 * files give equal bytes. Layers are not compressed: the bytes of a compressor differ between its versions.
 */
export async function assembleImage(spec: ImageSpec): Promise<Image> {
  const hashed = await Promise.all(
    spec.files.map(async ({ source, ...file }) =>
      source ? { ...file, sha256: file.sha256 ?? (await hashFile(source)) } : file,
    ),
  );
  const key = `image:${createHash("sha256")
    .update(JSON.stringify([format, { ...spec, files: hashed }]))
    .digest("hex")}`;
  const at = (await readRecord(key))?.archive;
  if (at) return { ref: spec.ref, ...at };
  return withScratch(async (dir) => {
    const archive = await insert(await writeArchive(spec, dir));
    await writeRecord(key, { archive }, { ref: spec.ref });
    return { ref: spec.ref, ...archive };
  });
}

async function writeArchive(spec: ImageSpec, dir: string): Promise<string> {
  const layer = join(dir, "layer.tar");
  await writeTar(await layerEntries(spec), layer);
  const layerDigest = await hashFile(layer);
  const layerSize = (await fs.stat(layer)).size;

  const config = json({
    architecture: spec.arch,
    os: "linux",
    created: epoch,
    config: {
      ...(spec.user ? { User: spec.user } : {}),
      Env: Object.entries({ PATH: "/usr/local/bin:/usr/bin:/bin", ...spec.env }).map(
        ([name, value]) => `${name}=${value}`,
      ),
      Entrypoint: spec.entrypoint,
      ...(spec.cmd ? { Cmd: spec.cmd } : {}),
      WorkingDir: spec.workdir ?? "/",
    },
    rootfs: { type: "layers", diff_ids: [`sha256:${layerDigest}`] },
    history: [{ created: epoch, created_by: "plainkube" }],
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: configType, ...descriptor(config) },
    layers: [{ mediaType: layerType, digest: `sha256:${layerDigest}`, size: layerSize }],
  });
  const index = json({
    schemaVersion: 2,
    mediaType: indexType,
    manifests: [
      {
        mediaType: manifestType,
        ...descriptor(manifest),
        platform: { architecture: spec.arch, os: "linux" },
        // containerd takes the name from the first, other tools from the second.
        annotations: { "io.containerd.image.name": spec.ref, "org.opencontainers.image.ref.name": tagOf(spec.ref) },
      },
    ],
  });
  const blob = (digest: string, size: number, content: Buffer | { file: string }): TarEntry => ({
    type: "file",
    path: `blobs/sha256/${digest}`,
    mode: 0o644,
    size,
    content,
  });
  const small = (path: string, content: Buffer): TarEntry => ({
    type: "file",
    path,
    mode: 0o644,
    size: content.length,
    content,
  });
  const archive = join(dir, "image.tar");
  await writeTar(
    [
      { type: "dir", path: "blobs", mode: 0o755 },
      { type: "dir", path: "blobs/sha256", mode: 0o755 },
      blob(layerDigest, layerSize, { file: layer }),
      blob(sha256(config), config.length, config),
      blob(sha256(manifest), manifest.length, manifest),
      small("index.json", index),
      small("oci-layout", json({ imageLayoutVersion: "1.0.0" })),
    ],
    archive,
  );
  return archive;
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex");
const descriptor = (content: Buffer) => ({ digest: `sha256:${sha256(content)}`, size: content.length });

function tagOf(ref: string): string {
  const tag = /:([\w.-]+)$/.exec(ref)?.[1];
  if (tag === undefined) throw new Error(`image reference: got ${ref}, expected name:tag; add a tag`);
  return tag;
}

async function layerEntries({ files, dirs = {} }: ImageSpec): Promise<TarEntry[]> {
  const entries = new Map<string, TarEntry>();
  const addDir = (path: string, mode: number) => {
    if (path === "" || path === ".") return;
    addDir(dirname(path), 0o755);
    if (!entries.has(path)) entries.set(path, { type: "dir", path, mode });
  };
  for (const [path, mode] of Object.entries(dirs)) {
    addDir(dirname(relative(path)), 0o755);
    entries.set(relative(path), { type: "dir", path: relative(path), mode });
  }
  for (const file of files) {
    const path = relative(file.path);
    addDir(dirname(path), 0o755);
    if (file.symlink !== undefined) entries.set(path, { type: "symlink", path, mode: 0o777, target: file.symlink });
    else if (file.source !== undefined) {
      const { size } = await fs.stat(file.source);
      entries.set(path, { type: "file", path, mode: file.mode ?? 0o755, size, content: { file: file.source } });
    } else {
      const content = Buffer.from(file.content ?? "");
      entries.set(path, { type: "file", path, mode: file.mode ?? 0o644, size: content.length, content });
    }
  }
  return [...entries.values()];
}

function relative(path: string): string {
  if (!path.startsWith("/") || path.split("/").includes("..")) {
    throw new Error(`image file: got ${path}, expected an absolute path without ..; correct the path`);
  }
  return path.replace(/^\/+|\/+$/g, "");
}

/** How each image is put together from the one program that it holds. */
const own = {
  pause: { program: "pause", path: "/pause", user: "65535:65535" },
  // Root, because it binds port 53; its pod drops every capability but NET_BIND_SERVICE.
  coredns: { program: "coredns", path: "/coredns", user: undefined },
  workload: { program: "workload", path: "/workload", user: "65532:65532" },
  "metrics-server": { program: "metrics-server", path: "/metrics-server", user: "65532:65532" },
  "local-path-provisioner": { program: "local-path-provisioner", path: "/local-path-provisioner", user: "65532:65532" },
  // Root, because volumes lie in a folder of the host's root; its pod keeps no capability but those to remove anyone's files.
  "volume-helper": { program: "volume-helper", path: "/volume-helper", user: undefined },
} as const;

/** The images that the project itself needs. */
export type ImageName = keyof typeof own;

export const imageNames = Object.keys(own) as readonly ImageName[];

/** `plainkube.local/<name>:<version>`: a name that no registry serves, so that nothing is ever pulled in its place. */
export function imageRef(name: ImageName, version: string): string {
  return `plainkube.local/${name}:${version}`;
}

/** Identifies an image by its program's own digest, without needing the program. */
export function imageDigest(name: ImageName, version: string, arch: Arch, programDigest: string): string {
  const parts = [format, own[name], imageRef(name, version), arch, programDigest];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** Digest of a program that is always built from its module, whatever the source of the others. */
export function ownProgramDigest(name: string, version: string, arch: Arch): string {
  return `modules:sha256:${recipeKey(recipe(name, version), arch)}`;
}

/** The image around a program that lies in the cache already. */
export function imageAround(name: ImageName, version: string, arch: Arch, program: StoredFile): Promise<Image> {
  const { path, user } = own[name];
  return assembleImage({
    ref: imageRef(name, version),
    arch,
    files: [{ path, source: program.path, sha256: program.sha256 }],
    entrypoint: [path],
    ...(user ? { user } : {}),
  });
}
