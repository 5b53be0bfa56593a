import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { supportedVersions } from "../components/versions.ts";
import { buildRecipe, findGo, hostArch, recipe, withBuildCaches } from "./modules.ts";
import { run } from "./run.ts";

/**
 * `npm run flags`: writes components/compatibility/known.txt anew, from what each version's programs print for `--help` and
 * from the types of their configuration files. To be run when a version is added to components/versions.ts.
 */

const output = join(import.meta.dirname, "../components/compatibility/known.txt");
const timeout = 10 * 60_000;
const log = (line: string): void => console.error(line);

/** Program → where the Go type of its configuration file is, if it has one. */
const programs: Readonly<Record<string, { module: string; file: string; types: readonly string[] } | undefined>> = {
  "kube-apiserver": undefined,
  "kube-controller-manager": undefined,
  "kube-scheduler": {
    module: "k8s.io/kube-scheduler",
    file: "config/v1/types.go",
    types: ["KubeSchedulerConfiguration"],
  },
  kubelet: { module: "k8s.io/kubelet", file: "config/v1beta1/types.go", types: ["KubeletConfiguration"] },
  "kube-proxy": { module: "k8s.io/kube-proxy", file: "config/v1alpha1/types.go", types: ["KubeProxyConfiguration"] },
  etcd: { module: "go.etcd.io/etcd/server/v3", file: "embed/config.go", types: ["Config", "configJSON"] },
};

/** Fields of the types that those of the configuration files take in (k8s.io/apimachinery, k8s.io/component-base). */
const inlined: Readonly<Record<string, readonly string[]>> = {
  TypeMeta: ["apiVersion", "kind"],
  DebuggingConfiguration: ["enableProfiling", "enableContentionProfiling"],
};

/** The JSON names of a Go struct's fields. */
function fieldsOf(source: string, type: string): string[] {
  const body = new RegExp(`^type ${type} struct \\{\n([\\s\\S]*?)^\\}`, "m").exec(source)?.[1];
  if (body === undefined) throw new Error(`no struct ${type} in the source; correct the table in toolchain/flags.ts`);
  return body.split("\n").flatMap((line) => {
    const [, embedded] = /^\s*(?:\w+\.)?(\w+)\s+`json:",inline"`/.exec(line) ?? [];
    if (embedded) {
      const fields = inlined[embedded];
      if (!fields)
        throw new Error(`${type} takes in ${embedded}, whose fields are not known; add it to toolchain/flags.ts`);
      return fields;
    }
    const [, name] = /`json:"([^",]+)/.exec(line) ?? [];
    return name === undefined || name === "-" ? [] : [name];
  });
}

/** What a program of a version can be told: `--flag` and field names. */
async function knownTo(program: string, version: string): Promise<string[]> {
  const what = recipe(program === "etcd" ? "etcd" : "kubernetes", version);
  const built = (await buildRecipe(what, { arch: hostArch(), log }))[program];
  if (!built) throw new Error(`the recipe of ${what.name} ${version} builds no ${program}`);
  const flags =
    program === "etcd"
      ? []
      : [...(await run(built.path, ["--help"], { timeout })).matchAll(/^ +(?:-\w, )?(--[\w-]+)/gm)];
  const config = programs[program];
  const names = flags.map((found) => found[1] ?? "");
  if (!config) return names;
  const module = join(import.meta.dirname, what.dir);
  const { go } = await findGo(join(module, "go.mod"));
  const env = { ...process.env, GOFLAGS: "-mod=readonly", GOWORK: "off", GOTOOLCHAIN: "local" };
  const { Dir } = JSON.parse(await run(go, ["mod", "download", "-json", config.module], { cwd: module, env, timeout }));
  const source = await readFile(join(Dir, config.file), "utf8");
  return [...names, ...config.types.flatMap((type) => fieldsOf(source, type))];
}

const sets = Object.values(supportedVersions);
const lines = [
  "# Which flag and which top-level field of the configuration file each program has. Made by `npm run flags`.",
  "# A line: program, flag or field, and the versions that have it, unless all of these have it:",
];
await withBuildCaches(async () => {
  for (const program of Object.keys(programs)) {
    const versions = [...new Set(sets.map((set) => (program === "etcd" ? set.etcd : set.kubernetes)))];
    lines.push("", `= ${program} ${versions.join(" ")}`);
    const versionsWith = new Map<string, string[]>();
    for (const version of versions) {
      for (const name of new Set(await knownTo(program, version))) {
        versionsWith.set(name, [...(versionsWith.get(name) ?? []), version]);
      }
    }
    for (const [name, has] of [...versionsWith].sort(([a], [b]) => (a < b ? -1 : 1))) {
      lines.push([program, name, ...(has.length < versions.length ? has : [])].join(" "));
    }
  }
});
await writeFile(output, `${lines.join("\n")}\n`);
log(`wrote ${output}`);
