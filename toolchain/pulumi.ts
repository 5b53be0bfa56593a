import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import * as fs from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { cacheRoot, type Log, removeTree, type StoredFile, withLock, withScratch, writeAtomic } from "./cache.ts";
import { whyUnreachable } from "./download.ts";
import { buildRecipe, compareVersions, hostArch, type Recipe, recipe, recipeKey, withBuildCaches } from "./modules.ts";
import { cliRelease, cliVersion, type Plugin, pluginRelease, pluginVersions } from "./pulumi-releases.ts";
import { obtainRelease, type ReleaseArtifact } from "./releases.ts";
import { run, which } from "./run.ts";

const plugins = Object.keys(pluginVersions) as Plugin[];
const nodeBin = join(import.meta.dirname, "..", "node_modules", ".bin");
const languageHost = "pulumi-language-nodejs";

const recipeOfPlugin: Readonly<Record<Plugin, string>> = {
  kubernetes: "plugin-kubernetes",
  tls: "plugin-terraform",
  random: "plugin-terraform",
  command: "plugin-command",
};

/**
 * What stands in our homes where the CLI would make a folder for a log of each command: with every detail, compressed and encrypted,
 * which takes nearly half of the engine's time in a preview. It has no setting; where it cannot make the folder, it keeps no log.
 */
const noLogs = "logs";

/** Where an engine with this home finds a plugin. */
const pluginPath = (home: string, plugin: Plugin) =>
  join(home, "plugins", `resource-${plugin}-v${pluginVersions[plugin]}`, `pulumi-resource-${plugin}`);

/**
 * Makes Pulumi usable and returns what to add to the environment for it: PATH with the CLI, the language host and the
 * project's Node, and PULUMI_HOME. An installed CLI (3.256.0 or newer) and installed plugins (the exact versions) are used
 * if they fit; what is missing is downloaded with a pinned checksum, or built from modules where there is no way to the
 * official site or no known checksum. The user's own ~/.pulumi is never written to.
 */
export async function ensurePulumi(log: Log): Promise<Record<string, string>> {
  const cli = await installedCli();
  const userHome = process.env.PULUMI_HOME || join(homedir(), ".pulumi");
  if (cli && plugins.every((plugin) => existsSync(pluginPath(userHome, plugin))))
    return environment([dirname(cli)], userHome);
  const home = join(cacheRoot(), `pulumi-home-${homeKey(cli)}`);
  if (!(await isComplete(home))) {
    await withBuildCaches(() =>
      withLock("pulumi-home", log, async () => {
        if (!(await isComplete(home))) await furnish(home, cli, log);
      }),
    );
  }
  const bin = cli ? dirname(cli) : join(home, "bin");
  const result = environment([bin], home);
  if (!cli) result.PULUMI_LANGUAGE_NODEJS_RUN_PATH = join(import.meta.dirname, "language-nodejs", "run.cjs");
  // Someone who is logged in stays logged in, though the plugins lie elsewhere.
  if (!process.env.PULUMI_CREDENTIALS_PATH && existsSync(join(userHome, "credentials.json"))) {
    result.PULUMI_CREDENTIALS_PATH = userHome;
  }
  return result;
}

function environment(bins: readonly string[], home: string): Record<string, string> {
  return {
    PATH: [nodeBin, ...bins, process.env.PATH ?? ""].join(delimiter),
    PULUMI_HOME: home,
    PULUMI_SKIP_UPDATE_CHECK: "true",
    // The engine and its plugins live for seconds: a tenth less of their processor time, for 150 MB.
    GOGC: process.env.GOGC ?? "400",
    // Otherwise the engine would fetch a missing plugin by itself, without a pinned checksum.
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
  };
}

/** The CLI on PATH, if it is new enough and has its language host beside it. */
async function installedCli(): Promise<string | undefined> {
  const path = which("pulumi");
  // A nested run sees the outer run's own on PATH.
  if (path === undefined || path.startsWith(cacheRoot())) return undefined;
  if (!existsSync(join(dirname(path), languageHost))) return undefined;
  const { size, mtimeMs } = statSync(path);
  const record = join(cacheRoot(), "pulumi-on-path.json");
  const identity = [path, size, mtimeMs].join(" ");
  // Asking the CLI costs half a second, so its answer is kept.
  let known: { identity?: string; version?: string } = {};
  if (existsSync(record)) {
    try {
      known = JSON.parse(readFileSync(record, "utf8"));
    } catch {
      // Asked again below.
    }
  }
  if (known.identity !== identity) {
    const env = { ...process.env, PULUMI_SKIP_UPDATE_CHECK: "true" };
    known = { identity, version: (await run(path, ["version"], { timeout: 30_000, env })).trim() };
    await writeAtomic(record, JSON.stringify(known));
  }
  return compareVersions(known.version ?? "0", cliVersion) >= 0 ? path : undefined;
}

function homeKey(cli: string | undefined): string {
  const names = new Set(["pulumi", "language-nodejs", ...Object.values(recipeOfPlugin)]);
  const parts = [cli ?? "own", noLogs, ...[...names].map((name) => recipeKey(recipe(name), hostArch()))];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 16);
}

/** Path below the home → bytes. */
type Inventory = Readonly<Record<string, number>>;

async function isComplete(home: string): Promise<boolean> {
  const text = await fs.readFile(join(home, "inventory.json"), "utf8").catch(() => undefined);
  if (text === undefined) return false;
  const inventory: Inventory = JSON.parse(text);
  return Object.entries(inventory).every(
    ([path, size]) => statSync(join(home, path), { throwIfNoEntry: false })?.size === size,
  );
}

async function furnish(home: string, cli: string | undefined, log: Log): Promise<void> {
  const arch = hostArch();
  await removeTree(home);
  const bin = join(home, "bin");
  await fs.mkdir(bin, { recursive: true });
  await fs.writeFile(join(home, noLogs), "");
  const inventory: Record<string, number> = {};
  if (cli === undefined) {
    const files = await obtainProgram(cliRelease(arch), [recipe("pulumi"), recipe("language-nodejs")], log);
    for (const name of ["pulumi", languageHost]) {
      await place(files, name, join(bin, name));
      inventory[join("bin", name)] = files[name]?.size ?? 0;
    }
  }
  const pulumi = cli ?? join(bin, "pulumi");
  const env = { ...process.env, PULUMI_HOME: home, PULUMI_SKIP_UPDATE_CHECK: "true" };
  for (const plugin of plugins) {
    const name = `pulumi-resource-${plugin}`;
    const version = pluginVersions[plugin];
    const files = await obtainProgram(pluginRelease(plugin, arch), [recipe(recipeOfPlugin[plugin])], log);
    await withScratch(async (dir) => {
      const file = join(dir, name);
      await place(files, name, file);
      const args = ["plugin", "install", "resource", plugin, version, "--file", file];
      await run(pulumi, args, { timeout: 120_000, env });
    });
    const path = pluginPath(home, plugin);
    inventory[path.slice(home.length + 1)] = (await fs.stat(path)).size;
    log(`installed the Pulumi plugin ${plugin} ${version}`);
  }
  await writeAtomic(join(home, "inventory.json"), `${JSON.stringify(inventory, null, 2)}\n`);
}

/** Downloads, or says why not and builds. */
async function obtainProgram(
  release: ReleaseArtifact,
  from: readonly Recipe[],
  log: Log,
): Promise<Readonly<Record<string, StoredFile>>> {
  const setting = `PLAINKUBE_PIN_${release.name.replaceAll("-", "_").toUpperCase()}`;
  const pinned = process.env[setting];
  const title = `${release.name} ${release.version}`;
  const noChecksum =
    release.checksum || pinned
      ? undefined
      : `no checksum of ${release.url} is known; ${setting}=<its SHA-256> would pin one`;
  const why = noChecksum ?? (await whyUnreachable(release.url));
  if (why === undefined) return obtainRelease(release, { setting, ...(pinned ? { pinned } : {}) }, log);
  log(`${title}: not downloaded (${why}), built from modules instead`);
  const files: Record<string, StoredFile> = {};
  for (const what of from) Object.assign(files, await buildRecipe(what, { arch: release.arch, log }));
  return files;
}

async function place(files: Readonly<Record<string, StoredFile>>, name: string, to: string): Promise<void> {
  const file = files[name];
  if (file === undefined) {
    throw new Error(
      `${name}: got ${Object.keys(files).join(", ")}, expected ${name} among them; correct the tables in toolchain/`,
    );
  }
  // A link, not a symbolic one: the CLI looks for its language host beside the file that it is.
  await fs.link(file.path, to).catch(() => fs.copyFile(file.path, to));
}
