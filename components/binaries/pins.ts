import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type ImageName, imageDigest, imageNames, ownProgramDigest } from "../../toolchain/images.ts";
import { recipe, recipeKey } from "../../toolchain/modules.ts";
import { releaseChecksums } from "../../toolchain/releases.ts";
import {
  type Arch,
  type Component,
  componentOf,
  ownPrograms,
  releaseOf,
  type VersionSet,
  versionKey,
} from "../versions.ts";

/** Where binaries come from; each is explained at `binaries.source` in Pulumi.yaml. */
export type BinarySource = "release" | "mirror" | "modules" | "directory";

export interface BinarySettings {
  readonly source: BinarySource | "auto";
  /** Address of a mirror: it serves `<host>/<path>` of each official download. For `mirror`, and for `auto` to consider. */
  readonly mirror?: string | undefined;
  /** Folder of files named after the binaries. For `directory`, and for `auto` to consider. */
  readonly directory?: string | undefined;
  /**
   * SHA-256 set by the user. For downloads by component (`coredns`), for a directory by binary (`kubelet`); `-amd64` or
   * `-arm64` behind the name limits it to one architecture.
   */
  readonly checksums?: Readonly<Record<string, string>> | undefined;
}

/** One file that hosts get, identified before it is there. */
export interface Pin {
  /** A binary (`kubelet`), or an image archive (`pause.tar`). */
  readonly name: string;
  readonly version: string;
  readonly arch: Arch;
  /**
   * What the content is trusted by: `release:<algorithm>:<of the download>#<binary>`, `modules:sha256:<of the sources and
   * flags>`, `file:sha256:<of the file>`, or `image:sha256:<of what the image is made of>`.
   */
  readonly digest: string;
}

/** The SHA-256 that the user has set for a name, if any. */
export function pinnedBy({ checksums = {} }: BinarySettings, name: string, arch: Arch): string | undefined {
  return (checksums[`${name}-${arch}`] ?? checksums[name])?.toLowerCase();
}

/** The setting that pins a checksum, as errors name it. */
export const pinSetting = (name: string, arch: Arch) => `plainkube:binaries.checksums.${name}-${arch}`;

/** What the recipe of a component is called. */
export const recipeName = (component: Component) => (component === "kubernetes-server" ? "kubernetes" : component);

/** The recipe that builds a component. */
export const recipeOf = (component: Component, version: string) => recipe(recipeName(component), version);

/** `pause.tar` → `pause`; undefined for a name that is no image of ours. */
export function imageOf(name: string): ImageName | undefined {
  return imageNames.find((image) => name === `${image}.tar`);
}

/** The program of our own that has this name, if there is one. */
export const ownProgramOf = (name: string) => ownPrograms.find((program) => program === name);

/**
 * What each name will be, known without network and cache, so that a preview needs neither. Equal arguments and an equal
 * repository give equal pins. Throws all problems at once: unknown names, unknown checksums, missing files; and on the
 * source `auto`, which `resolveSource` decides first.
 */
export function pinsFor(names: readonly string[], versions: VersionSet, arch: Arch, settings: BinarySettings): Pin[] {
  const problems = new Set<string>();
  const pins = names.flatMap((name) => {
    try {
      return [pinFor(name, versions, arch, settings)];
    } catch (error) {
      problems.add((error as Error).message);
      return [];
    }
  });
  if (problems.size > 0) throw new Error([...problems].join("\n"));
  return pins;
}

function pinFor(name: string, versions: VersionSet, arch: Arch, settings: BinarySettings): Pin {
  const version = versions[imageOf(name) ?? ownProgramOf(name) ?? versionKey[componentOf(name)]];
  return { name, version, arch, digest: digestOf(name, version, arch, settings) };
}

/** The digest of one name under these settings. */
export function digestOf(name: string, version: string, arch: Arch, settings: BinarySettings): string {
  const image = imageOf(name);
  const own = ownProgramOf(name);
  if (image === undefined && own === undefined) return binaryDigest(name, version, arch, settings);
  const inDirectory = settings.source === "directory" && existsSync(join(settings.directory ?? "", name));
  if (inDirectory) return fileDigest(name, arch, settings);
  if (image === undefined) return ownProgramDigest(name, version, arch);
  const program =
    image === "coredns" ? binaryDigest(image, version, arch, settings) : ownProgramDigest(image, version, arch);
  return `image:sha256:${imageDigest(image, version, arch, program)}`;
}

function binaryDigest(name: string, version: string, arch: Arch, settings: BinarySettings): string {
  const component = componentOf(name);
  switch (settings.source) {
    case "release":
    case "mirror": {
      const pinned = pinnedBy(settings, component, arch);
      const options = { setting: pinSetting(component, arch), ...(pinned ? { pinned } : {}) };
      const [{ algorithm, digest }] = releaseChecksums(releaseOf(component, version, arch), options);
      return `release:${algorithm}:${digest}#${name}`;
    }
    case "modules":
      return `modules:sha256:${recipeKey(recipeOf(component, version), arch)}`;
    case "directory":
      return fileDigest(name, arch, settings);
    case "auto":
      throw new Error("binaries.source: got auto, expected one that is decided; call resolveSource first");
  }
}

const hashed = new Map<string, string>();

function fileDigest(name: string, arch: Arch, settings: BinarySettings): string {
  const pinned = pinnedBy(settings, name, arch);
  if (pinned) return `file:sha256:${pinned}`;
  if (!settings.directory) {
    throw new Error("plainkube:binaries.directory: got nothing, expected the folder that holds the binaries; set it");
  }
  const path = join(settings.directory, name);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) {
    throw new Error(
      `${path}: got no file, expected the ${arch} binary ${name}; put it there, or correct plainkube:binaries.directory`,
    );
  }
  // Once per process: several hosts ask for the same files.
  const key = `${path}\0${stat.size}\0${stat.mtimeMs}`;
  const digest = hashed.get(key) ?? createHash("sha256").update(readFileSync(path)).digest("hex");
  hashed.set(key, digest);
  return `file:sha256:${digest}`;
}
