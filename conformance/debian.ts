import { lstat, mkdir, readdir, readlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { must } from "../lab/shell.ts";
import type { Log } from "../toolchain/cache.ts";
import type { ImageFile } from "../toolchain/images.ts";

/** What the suite's images hold beside the programs of its module and busybox, as packages of this machine's own distribution. */
export const packages = [
  "bash",
  "bind9-dnsutils",
  "coreutils",
  "curl",
  "grep",
  "hostname",
  "iperf",
  "iproute2",
  "libc-bin",
  "mawk",
  "netcat-openbsd",
  "nginx",
  "nginx-common",
  "sed",
  "util-linux",
] as const;

/** Unpacked packages in a folder: nothing is installed on the machine. */
export interface Unpacked {
  readonly root: string;
  /** The dynamic linker, as path in `root`. */
  readonly loader: string;
}

/**
 * Fetches the packages with all that they need by apt, which checks their signatures, and unpacks them below `dir`.
 * Throws without apt-get, or if a package cannot be fetched.
 */
export async function unpackPackages(dir: string, log: Log): Promise<Unpacked> {
  const archives = join(dir, "archives");
  const root = join(dir, "root");
  await mkdir(join(archives, "partial"), { recursive: true });
  await mkdir(root);
  // As if nothing were installed, so that apt names every package that these need.
  await writeFile(join(dir, "status"), "");
  const options = {
    "APT::Sandbox::User": "root",
    "Debug::NoLocking": "1",
    "Dir::Cache::archives": `${archives}/`,
    "Dir::State::status": join(dir, "status"),
  };
  const flags = Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  const fetch = () =>
    must(["apt-get", ...flags, "--yes", "--no-install-recommends", "--download-only", "install", ...packages]);
  log(`fetching ${packages.length} packages and what they need`);
  await fetch().catch(async () => {
    // The machine's lists may be missing, or older than what the mirror has.
    await must(["apt-get", "--quiet", "update"]);
    await fetch();
  });
  for (const name of (await readdir(archives)).filter((file) => file.endsWith(".deb")).sort()) {
    await must(["dpkg-deb", "--extract", join(archives, name), root]);
  }
  return { root, loader: await findLoader(root) };
}

async function findLoader(root: string): Promise<string> {
  for (const folder of ["lib64", "lib"]) {
    const name = (await readdir(join(root, folder)).catch(() => [])).find((file) => /^ld-linux.*\.so\.\d$/.test(file));
    if (name) return `/${folder}/${name}`;
  }
  throw new Error(`${root}: got no ld-linux*.so in lib or lib64, expected glibc's; use a Debian-like system`);
}

/** A file of the packages as a file of an image, at the same path or another. Links are followed. */
export async function pick(from: Unpacked, path: string, as = path): Promise<ImageFile> {
  return { path: as, source: await resolveInside(from.root, path) };
}

/** The shared libraries of these programs, and the dynamic linker. */
export async function librariesOf(from: Unpacked, programs: readonly string[]): Promise<ImageFile[]> {
  const folders = (await readdir(join(from.root, "usr/lib"))).filter((name) => name.endsWith("-linux-gnu"));
  const path = folders.flatMap((name) => [join(from.root, "lib", name), join(from.root, "usr/lib", name)]).join(":");
  const loader = await resolveInside(from.root, from.loader);
  const found = new Set<string>();
  for (const program of programs) {
    const file = await resolveInside(from.root, program);
    for (const line of (await must([loader, "--library-path", path, "--list", file])).split("\n")) {
      const library = / => (\/\S+)/.exec(line)?.[1];
      if (library?.startsWith(`${from.root}/`)) found.add(library.slice(from.root.length));
    }
  }
  found.add(from.loader);
  return Promise.all([...found].sort().map((library) => pick(from, library)));
}

/** Follows links as a process would that has `root` as its root. */
async function resolveInside(root: string, path: string): Promise<string> {
  const file = join(root, path);
  const stat = await lstat(file).catch(() => undefined);
  if (!stat)
    throw new Error(`${path}: got no such file in the unpacked packages; add the package to conformance/debian.ts`);
  if (!stat.isSymbolicLink()) return file;
  const target = await readlink(file);
  return resolveInside(root, target.startsWith("/") ? target : join(dirname(path), target));
}
