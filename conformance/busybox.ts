import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { readAptSource } from "../lab/machine.ts";
import { must } from "../lab/shell.ts";
import { installPackages } from "../toolchain/apt.ts";
import {
  hashFile,
  insert,
  type Log,
  readRecord,
  type StoredFile,
  withScratch,
  writeRecord,
} from "../toolchain/cache.ts";
import { download, whyUnreachable } from "../toolchain/download.ts";
import type { Arch } from "../toolchain/releases.ts";
import { run, which } from "../toolchain/run.ts";

/**
 * Upstream's own source, which the official image is built from. Debian's busybox will not do: its shell keeps variables
 * such as `data-1` from the programs that it starts, and the suite asks for them.
 */
const source = {
  version: "1.37.0",
  sha256: "3311dff32e746499f4df0d5df04d7eb396382d7e108bb9250e7b519b837043a4",
  url: "https://busybox.net/downloads/busybox-1.37.0.tar.bz2",
  /** Debian's release with this version, and how it names the file. */
  suite: "trixie",
  debianName: "busybox_1.37.0.orig.tar.bz2",
} as const;

/** Changes to the default configuration: one static program; `tc` does not compile against newer kernel headers. */
const settings: readonly (readonly [was: string, is: string])[] = [
  ["# CONFIG_STATIC is not set", "CONFIG_STATIC=y"],
  ["CONFIG_TC=y", "# CONFIG_TC is not set"],
];

/** Program → Debian package that has it. */
const tools = { gcc: "gcc libc6-dev", make: "make", bzip2: "bzip2" } as const;

/** A static busybox for this machine's architecture, built once. Throws if its source or a compiler cannot be had. */
export async function buildBusybox(arch: Arch, log: Log): Promise<StoredFile> {
  const key = `busybox:${JSON.stringify([source.sha256, settings, arch])}`;
  const at = (await readRecord(key))?.busybox;
  if (at) return at;
  return withScratch(async (dir) => {
    await ensureTools(log);
    const archive = await fetchSource(dir, log);
    log(`building busybox ${source.version} (1 to 2 minutes)`);
    await must(["tar", "--extract", "--file", archive, "--directory", dir, "--no-same-owner"]);
    const tree = join(dir, `busybox-${source.version}`);
    const make = (...args: string[]) =>
      run("make", [`--jobs=${availableParallelism()}`, ...args], {
        cwd: tree,
        // No time of the build in the program.
        env: { ...process.env, KCONFIG_NOTIMESTAMP: "1", SOURCE_DATE_EPOCH: "0" },
        timeout: 20 * 60_000,
        onLine: progress(log),
      });
    await make("defconfig");
    const config = join(tree, ".config");
    let text = await readFile(config, "utf8");
    for (const [was, is] of settings) text = text.replace(`${was}\n`, `${is}\n`);
    await writeFile(config, text);
    await make("busybox");
    const busybox = await insert(join(tree, "busybox"));
    await writeRecord(key, { busybox }, { source: `busybox ${source.version}`, arch });
    return busybox;
  });
}

function progress(log: Log): (line: string) => void {
  let said = Date.now();
  return (line) => {
    if (Date.now() - said < 5_000) return;
    said = Date.now();
    log(`building busybox ${source.version}: ${line.trim()}`);
  };
}

async function ensureTools(log: Log): Promise<void> {
  const missing = Object.entries(tools).flatMap(([program, names]) => (which(program) ? [] : names.split(" ")));
  await installPackages(missing, "building busybox", log);
}

/** The source archive: from its own site, else as Debian has it, byte for byte the same. */
async function fetchSource(dir: string, log: Log): Promise<string> {
  const { url, sha256, debianName } = source;
  const unreachable = await whyUnreachable(url);
  const archive = join(dir, debianName);
  if (unreachable === undefined) {
    await download({ url, checksums: [{ algorithm: "sha256", digest: sha256 }], to: archive, log });
    return archive;
  }
  await fetchFromDebian(dir, log);
  const got = await hashFile(archive).catch(() => "no such file");
  if (got === sha256) return archive;
  throw new Error(
    `busybox ${source.version}: got ${got} as ${debianName} from Debian ${source.suite}, expected SHA-256 ${sha256}; ` +
      `its own site could not be used either (${unreachable})`,
  );
}

async function fetchFromDebian(dir: string, log: Log): Promise<void> {
  log(`fetching the source of busybox ${source.version}`);
  const { mirror, keyring } = await readAptSource();
  const apt = join(dir, "apt");
  for (const folder of ["lists/partial", "archives/partial"]) await mkdir(join(apt, folder), { recursive: true });
  const signed = keyring ? `[signed-by=${keyring}] ` : "";
  await writeFile(join(apt, "sources.list"), `deb-src ${signed}${mirror} ${source.suite} main\n`);
  const options = {
    "APT::Sandbox::User": "root",
    "Debug::NoLocking": "1",
    "Dir::Cache": `${apt}/`,
    "Dir::Etc::sourcelist": join(apt, "sources.list"),
    "Dir::Etc::sourceparts": "-",
    "Dir::State::lists": join(apt, "lists/"),
  };
  const flags = Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  await must(["apt-get", ...flags, "--quiet", "update"], { cwd: dir });
  await must(["apt-get", ...flags, "--quiet", "--download-only", "source", "busybox"], { cwd: dir });
}
