import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import * as fs from "node:fs/promises";
import { join, relative } from "node:path";
import { installPackages } from "./apt.ts";
import {
  cacheRoot,
  ifLockFree,
  insert,
  type Log,
  readRecord,
  removeTree,
  requireFreeSpace,
  type StoredFile,
  seconds,
  withLock,
  withScratch,
  writeRecord,
} from "./cache.ts";
import type { Arch } from "./releases.ts";
import { run, which } from "./run.ts";

/** Programs built together from one Go module with pinned sums. */
export interface Recipe {
  readonly name: string;
  readonly version: string;
  /** Folder beside this file that holds go.mod and go.sum. */
  readonly dir: string;
  /** Output name → Go package. */
  readonly packages: Readonly<Record<string, string>>;
  /** Output name → Go package whose tests become a program. */
  readonly tests?: Readonly<Record<string, string>>;
  /** Output name → a file that a module brings, as module and path in it. */
  readonly files?: Readonly<Record<string, readonly [module: string, path: string]>>;
  /** Variables set at link time. */
  readonly set?: Readonly<Record<string, string>>;
  /** Build tags, for the programs that need a C library, linked statically. */
  readonly cgoTags?: string;
  /** Files that the build makes first, in a copy of the folder. */
  readonly prepare?: "kubernetes-schema" | "bridge-schemas";
  /** Disk that a cold build takes, in GiB, caches included. */
  readonly disk: number;
}

const here = import.meta.dirname;

/**
 * What every Kubernetes program answers to `--version`, and kube-apiserver at `/version`: in the older ones its aggregator
 * answers there, with the version of client-go.
 */
function kubernetesVersion(version: string): Record<string, string> {
  const minor = version.split(".")[1] ?? "";
  const packages = ["component-base/version", ...(Number(minor) < 34 ? ["client-go/pkg/version"] : [])];
  const values = { gitVersion: `v${version}`, gitMajor: "1", gitMinor: minor };
  return Object.fromEntries(
    packages.flatMap((name) => Object.entries(values).map(([key, value]) => [`k8s.io/${name}.${key}`, value])),
  );
}

/** What hosts get of a Kubernetes version, and `more` of its commands. */
const kubernetes = (version: string, dir: string, more: readonly string[] = []): Recipe => ({
  name: "kubernetes",
  version,
  dir,
  packages: Object.fromEntries(
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy", ...more].map(
      (name) => [name, `k8s.io/kubernetes/cmd/${name}`],
    ),
  ),
  set: kubernetesVersion(version),
  disk: 6,
});

const etcd = (version: string, dir: string): Recipe => ({
  name: "etcd",
  version,
  dir,
  packages: {
    etcd: "go.etcd.io/etcd/server/v3",
    etcdctl: "go.etcd.io/etcd/etcdctl/v3",
    etcdutl: "go.etcd.io/etcd/etcdutl/v3",
  },
  disk: 2,
});

/** Every recipe, in the order in which a fresh machine needs the results. */
export const recipes: readonly Recipe[] = [
  {
    name: "pulumi",
    version: "3.256.0",
    dir: "pulumi",
    packages: { pulumi: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi" },
    set: { "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": "v3.256.0" },
    disk: 6,
  },
  {
    name: "language-nodejs",
    version: "3.68.0",
    dir: "language-nodejs",
    packages: { "pulumi-language-nodejs": "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs" },
    disk: 2,
  },
  {
    name: "plugin-command",
    version: "1.2.1",
    dir: "plugin-command",
    packages: { "pulumi-resource-command": "plainkube/toolchain/plugin-command" },
    disk: 3,
  },
  {
    name: "plugin-terraform",
    version: "5.3.1+4.21.1",
    dir: "plugin-terraform",
    packages: {
      "pulumi-resource-tls": "plainkube/toolchain/plugin-terraform/cmd/pulumi-resource-tls",
      "pulumi-resource-random": "plainkube/toolchain/plugin-terraform/cmd/pulumi-resource-random",
    },
    set: {
      "plainkube/toolchain/plugin-terraform/plugins.tlsVersion": "5.3.1",
      "plainkube/toolchain/plugin-terraform/plugins.randomVersion": "4.21.1",
    },
    prepare: "bridge-schemas",
    disk: 4,
  },
  {
    name: "plugin-kubernetes",
    version: "4.25.0",
    dir: "plugin-kubernetes",
    packages: { "pulumi-resource-kubernetes": "plainkube/toolchain/plugin-kubernetes" },
    set: { "github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version": "4.25.0" },
    prepare: "kubernetes-schema",
    disk: 8,
  },
  {
    name: "plainkube-receive",
    version: "1.0.0",
    dir: "receive",
    packages: { "plainkube-receive": "plainkube/toolchain/receive" },
    disk: 1,
  },
  etcd("3.6.8", "etcd"),
  kubernetes("1.36.3", "kubernetes", ["kubeadm"]),
  {
    // Kubelets without containers, for the simulation of large clusters (`bench/hollow`); from the same pinned module.
    name: "kubemark",
    version: "1.36.3",
    dir: "kubernetes",
    packages: { kubemark: "k8s.io/kubernetes/cmd/kubemark" },
    set: kubernetesVersion("1.36.3"),
    disk: 6,
  },
  etcd("3.5.7", "etcd-3.5"),
  kubernetes("1.35.4", "kubernetes-1.35"),
  kubernetes("1.34.10", "kubernetes-1.34"),
  kubernetes("1.27.2", "kubernetes-1.27"),
  kubernetes("1.26.3", "kubernetes-1.26"),
  {
    name: "conformance",
    version: "1.36.3",
    dir: "conformance",
    packages: {
      agnhost: "k8s.io/kubernetes/test/images/agnhost",
      nnp: "k8s.io/kubernetes/test/images/nonewprivs",
      ginkgo: "github.com/onsi/ginkgo/v2/ginkgo",
    },
    tests: { "e2e.test": "k8s.io/kubernetes/test/e2e" },
    files: {
      "localhost.crt": ["k8s.io/kubernetes", "test/images/agnhost/porter/localhost.crt"],
      "localhost.key": ["k8s.io/kubernetes", "test/images/agnhost/porter/localhost.key"],
      "nautilus.jpg": ["k8s.io/kubernetes", "test/images/nautilus/html/nautilus.jpg"],
      "nautilus.json": ["k8s.io/kubernetes", "test/images/nautilus/html/data.json"],
    },
    set: kubernetesVersion("1.36.3"),
    disk: 8,
  },
  {
    // What the suite updates to its own agnhost: 2.56. The 2.55 that it names lies in no released version.
    name: "agnhost",
    version: "1.34.10",
    dir: "agnhost",
    packages: { "agnhost-2.56": "k8s.io/kubernetes/test/images/agnhost" },
    files: {
      "kitten.jpg": ["k8s.io/kubernetes", "test/images/kitten/html/kitten.jpg"],
      "kitten.json": ["k8s.io/kubernetes", "test/images/kitten/html/data.json"],
    },
    disk: 3,
  },
  {
    name: "sample-apiserver",
    version: "0.29.2",
    dir: "sample-apiserver",
    packages: { "sample-apiserver": "k8s.io/sample-apiserver" },
    disk: 2,
  },
  {
    name: "containerd",
    version: "2.3.4",
    dir: "containerd",
    packages: {
      containerd: "github.com/containerd/containerd/v2/cmd/containerd",
      "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
      ctr: "github.com/containerd/containerd/v2/cmd/ctr",
    },
    set: { "github.com/containerd/containerd/v2/version.Version": "v2.3.4" },
    disk: 2,
  },
  {
    name: "runc",
    version: "1.4.3",
    dir: "runc",
    packages: { runc: "github.com/opencontainers/runc" },
    // Without seccomp no pod starts.
    cgoTags: "seccomp netgo osusergo",
    disk: 1,
  },
  {
    name: "cni-plugins",
    version: "1.9.1",
    dir: "cni",
    packages: {
      bridge: "github.com/containernetworking/plugins/plugins/main/bridge",
      "host-local": "github.com/containernetworking/plugins/plugins/ipam/host-local",
      loopback: "github.com/containernetworking/plugins/plugins/main/loopback",
      portmap: "github.com/containernetworking/plugins/plugins/meta/portmap",
    },
    set: { "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": "v1.9.1" },
    disk: 1,
  },
  {
    name: "flanneld",
    version: "0.27.4",
    dir: "flannel",
    packages: { flanneld: "github.com/flannel-io/flannel" },
    set: { "github.com/flannel-io/flannel/pkg/version.Version": "v0.27.4" },
    // Its `udp` backend is written in C, and always a part of it.
    cgoTags: "netgo osusergo",
    disk: 3,
  },
  {
    name: "coredns",
    version: "1.14.7",
    dir: "coredns",
    packages: { coredns: "github.com/coredns/coredns" },
    disk: 5,
  },
  {
    name: "etcd-decode",
    version: "0.36.3",
    dir: "etcd-decode",
    packages: { "etcd-decode": "plainkube/toolchain/etcd-decode" },
    disk: 2,
  },
  {
    name: "pause",
    version: "1.0.0",
    dir: "images/pause",
    packages: { pause: "plainkube/toolchain/images/pause" },
    disk: 1,
  },
  {
    name: "workload",
    version: "1.0.0",
    dir: "images/workload",
    packages: { workload: "plainkube/toolchain/images/workload" },
    set: { "main.version": "1.0.0" },
    disk: 1,
  },
  {
    name: "kubelet-serving-approver",
    version: "1.0.0",
    dir: "kubelet-serving-approver",
    packages: { "kubelet-serving-approver": "plainkube/toolchain/kubelet-serving-approver" },
    disk: 1,
  },
  {
    name: "metrics-server",
    version: "0.9.0",
    dir: "metrics-server",
    packages: { "metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server" },
    set: { "k8s.io/client-go/pkg/version.gitVersion": "v0.9.0" },
    disk: 5,
  },
  {
    name: "local-path-provisioner",
    version: "0.0.30",
    dir: "local-path-provisioner",
    packages: { "local-path-provisioner": "github.com/rancher/local-path-provisioner" },
    disk: 3,
  },
  {
    name: "volume-helper",
    version: "1.0.0",
    dir: "images/volume-helper",
    packages: { "volume-helper": "plainkube/toolchain/images/volume-helper" },
    disk: 1,
  },
];

/** The recipe of this name (and version, if given). Throws, naming what there is. */
export function recipe(name: string, version?: string): Recipe {
  const found = recipes.find((one) => one.name === name && (version === undefined || one.version === version));
  if (found) return found;
  const known = recipes.filter((one) => one.name === name).map((one) => one.version);
  throw new Error(
    `${name} ${version ?? ""}: cannot be built from modules; expected ` +
      (known.length > 0 ? `version ${known.join(" or ")}` : `one of ${recipes.map((one) => one.name).join(", ")}`) +
      "; change the version, or choose another binaries.source",
  );
}

/**
 * SHA-256 that changes with anything that decides what is built: the sources, go.mod, go.sum, the flags, the
 * architecture. The Go version is not part of it, so that results do not depend on who runs the preview. Reads only the repository.
 */
export function recipeKey(what: Recipe, arch: Arch, root: string = here): string {
  const hash = createHash("sha256");
  const { disk: _, ...deciding } = what;
  hash.update(JSON.stringify([2, deciding, goFlags(what), arch]));
  for (const path of sources(join(root, what.dir))) {
    const content = createHash("sha256").update(readFileSync(path)).digest("hex");
    hash.update(`${relative(root, path)}\0${content}\0`);
  }
  return hash.digest("hex");
}

function sources(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(
      (entry) => entry.isFile() && /(^go\.(mod|sum)|\.go|\.json)$/.test(entry.name) && !entry.name.endsWith("_test.go"),
    )
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function goFlags({ set = {}, cgoTags }: Recipe): string[] {
  const variables = Object.entries(set).map(([name, value]) => `-X ${name}=${value}`);
  const link = ["-s -w", ...variables, ...(cgoTags ? ['-extldflags "-static"'] : [])].join(" ");
  return ["-mod=readonly", "-trimpath", "-buildvcs=false", ...(cgoTags ? ["-tags", cgoTags] : []), "-ldflags", link];
}

let cacheHolders = 0;

/**
 * Runs `work`, which may build several recipes, and then drops the Go caches that the builds shared (some 30 GB when cold).
 * They stay if `work` fails, so that the next run goes on from there. Nested calls drop once, at the outermost end.
 */
export async function withBuildCaches<T>(work: () => Promise<T>): Promise<T> {
  cacheHolders++;
  try {
    const result = await work();
    const caches = join(cacheRoot(), "build");
    // Another run that is building with them drops them at its own end.
    if (cacheHolders === 1 && existsSync(caches)) await ifLockFree("go-build", () => removeTree(caches));
    return result;
  } finally {
    cacheHolders--;
  }
}

/**
 * The programs of a recipe: from the cache if they are there, else built. Returns output name → file.
 * Throws if Go, a C library or disk space is missing, or if the build fails, with its last lines.
 */
export async function buildRecipe(
  what: Recipe,
  options: { readonly arch: Arch; readonly log: Log },
): Promise<Readonly<Record<string, StoredFile>>> {
  const key = `modules:${recipeKey(what, options.arch)}`;
  const at = await readRecord(key);
  if (at) return at;
  // One build at a time: two would only take the processor from each other.
  return withBuildCaches(() =>
    withLock("go-build", options.log, async () => {
      const other = await readRecord(key);
      return other ?? withScratch((dir) => build(what, options.arch, options.log, key, dir));
    }),
  );
}

const buildTimeout = 60 * 60_000;

async function build(
  what: Recipe,
  arch: Arch,
  log: Log,
  key: string,
  dir: string,
): Promise<Readonly<Record<string, StoredFile>>> {
  const module = join(dir, "module");
  const bin = join(dir, "bin");
  await fs.cp(join(here, what.dir), module, { recursive: true });
  const { go, version } = await findGo(join(module, "go.mod"));
  await requireFreeSpace(what.disk * 2 ** 30, `building ${what.name} ${what.version}`);
  const crossCompiler = arch === hostArch() ? {} : await crossTools(what, arch);
  if (what.cgoTags) await requireCompiler(what, arch, log);
  await fs.mkdir(join(dir, "go"));
  const env = { ...goEnvironment(what, arch, join(dir, "go")), ...crossCompiler };

  const started = Date.now();
  const title = `building ${what.name} ${what.version}${arch === hostArch() ? "" : ` for ${arch}`}`;
  log(title);
  let downloaded = 0;
  let compiled = 0;
  let current = "starting";
  const onLine = (line: string) => {
    if (line.startsWith("go: downloading ")) {
      downloaded++;
      current = `downloading ${line.slice(16).split(" ")[0]}`;
    } else if (/^[\w.~-]+(\/[\w.~-]+)*$/.test(line)) {
      compiled++;
      current = line.split("/").slice(-2).join("/");
    }
  };
  const progress = setInterval(
    () => log(`${title}: ${downloaded} modules, ${compiled} packages, ${current} … ${seconds(Date.now() - started)}`),
    5_000,
  );
  const goRun = (args: readonly string[], extra: NodeJS.ProcessEnv = {}) =>
    run(go, args, { cwd: module, env: { ...env, ...extra }, timeout: buildTimeout, onLine });
  try {
    await prepare(what, module, dir, goRun);
    await goRun(["build", "-v", ...goFlags(what), "-o", `${bin}/`, ...new Set(Object.values(what.packages))]);
    for (const [output, name] of Object.entries(what.tests ?? {})) {
      current = name;
      await goRun(["test", "-c", ...goFlags(what), "-o", join(bin, output), name]);
    }
    for (const [output, [name, path]] of Object.entries(what.files ?? {})) {
      const { Dir } = JSON.parse(await goRun(["mod", "download", "-json", name]));
      await fs.copyFile(join(Dir, path), join(bin, output));
      await fs.chmod(join(bin, output), 0o644);
    }
  } catch (error) {
    throw new Error(
      `${title} failed: ${(error as Error).message}\n  What to do: see the lines above; if a download failed, check GOPROXY and the network. ` +
        `What was compiled is kept in ${goCaches(env)} and the next run goes on from there.`,
    );
  } finally {
    clearInterval(progress);
  }
  const files: Record<string, StoredFile> = {};
  for (const [output, name] of Object.entries(what.packages))
    files[output] = await insert(join(bin, executableOf(name)));
  for (const output of Object.keys({ ...what.tests, ...what.files })) files[output] = await insert(join(bin, output));
  await writeRecord(key, files, { recipe: `${what.name} ${what.version}`, arch, go: version });
  log(`built ${what.name} ${what.version} in ${seconds(Date.now() - started)}`);
  return files;
}

// Go names a program after the last part of its package that is not a major version.
const executableOf = (name: string) =>
  name
    .split("/")
    .filter((part) => !/^v\d+$/.test(part))
    .at(-1) ?? name;

const goCaches = (env: NodeJS.ProcessEnv) => (env.GOCACHE ? join(cacheRoot(), "build") : "Go's own caches");

/** This machine's architecture, in Go's words. Throws on one that nothing is published for. */
export function hostArch(): Arch {
  if (process.arch === "x64") return "amd64";
  if (process.arch === "arm64") return "arm64";
  throw new Error(`architecture: got ${process.arch}, expected x64 or arm64; run on such a machine`);
}

function goEnvironment(what: Recipe, arch: Arch, temporary: string): NodeJS.ProcessEnv {
  const own = join(cacheRoot(), "build");
  const caches =
    process.env.PLAINKUBE_KEEP_GO_CACHE === "1"
      ? {}
      : { GOCACHE: join(own, "go-build"), GOMODCACHE: join(own, "go-mod") };
  return {
    ...process.env,
    ...caches,
    CGO_ENABLED: what.cgoTags ? "1" : "0",
    GOOS: "linux",
    GOARCH: arch,
    GOAMD64: "v1",
    GOARM64: "v8.0",
    // Not empty: an empty one would let the user's own flags through.
    GOFLAGS: "-mod=readonly",
    GOWORK: "off",
    GO111MODULE: "on",
    GOTOOLCHAIN: "local",
    GOTMPDIR: temporary,
    // It may be what Pulumi's processes get (./pulumi.ts).
    GOGC: undefined,
  };
}

async function prepare(
  what: Recipe,
  module: string,
  dir: string,
  goRun: (args: readonly string[], extra?: NodeJS.ProcessEnv) => Promise<string>,
): Promise<void> {
  // What is prepared here runs on this machine, whatever the results are for.
  const host = { GOARCH: hostArch() };
  if (what.prepare === "kubernetes-schema") {
    const path = "github.com/pulumi/pulumi-kubernetes/provider/v4";
    const { Dir } = JSON.parse(await goRun(["mod", "download", "-json", path]));
    for (const name of ["schema.json", "terraform-mapping.json"]) {
      await fs.writeFile(join(module, name), await fs.readFile(join(Dir, "cmd/pulumi-resource-kubernetes", name)));
    }
  }
  if (what.prepare === "bridge-schemas") {
    const tfgen = join(dir, "tfgen");
    await goRun(["build", "-v", ...goFlags(what), "-o", tfgen, "./cmd/tfgen"], host);
    for (const name of ["tls", "random"]) {
      const out = join(module, "cmd", `pulumi-resource-${name}`);
      const args = [name, "schema", "--out", out, "--skip-docs", "--skip-examples"];
      await run(tfgen, args, { cwd: dir, timeout: 5 * 60_000 });
    }
  }
}

/** The Go compiler and its version, or an error if there is none that is new enough for this go.mod. */
export async function findGo(goMod: string): Promise<{ go: string; version: string }> {
  const needed = /^go (\S+)/m.exec(await fs.readFile(goMod, "utf8"))?.[1] ?? "1.26";
  const remedy = `install Go ${needed} or newer from your distribution or https://go.dev/dl and put it on PATH, or choose another source of binaries`;
  const go = which("go", ["/usr/local/go/bin", "/usr/lib/go/bin"]);
  if (go === undefined)
    throw new Error(`Go: got no \`go\` on PATH or in /usr/local/go, expected ${needed} or newer; ${remedy}`);
  const env = { ...process.env, GOTOOLCHAIN: "local" };
  const version = /go(\d[\w.]*)/.exec(await run(go, ["version"], { timeout: 30_000, env }))?.[1] ?? "unknown";
  if (compareVersions(version, needed) < 0) {
    throw new Error(`Go: got ${version} (${go}), expected ${needed} or newer; ${remedy}`);
  }
  return { go, version };
}

/** Negative, 0 or positive as `a` is older than, equal to or newer than `b`; missing parts count as 0. */
export function compareVersions(a: string, b: string): number {
  const parts = (text: string) =>
    text
      .replace(/^v/, "")
      .split(/[^\d]+/)
      .map(Number);
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const gnuName = { amd64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

async function crossTools(what: Recipe, arch: Arch): Promise<NodeJS.ProcessEnv> {
  if (!what.cgoTags) return {};
  return { CC: `${gnuName[arch]}-gcc`, PKG_CONFIG_LIBDIR: `/usr/lib/${gnuName[arch]}/pkgconfig:/usr/share/pkgconfig` };
}

/** A C compiler, and the libraries that the recipe's tags ask for. */
async function requireCompiler(what: Recipe, arch: Arch, log: Log): Promise<void> {
  const cross = arch === hostArch() ? "" : gnuName[arch];
  const compiler = cross ? `${cross}-gcc` : "gcc";
  const env = { ...process.env, ...(cross ? await crossTools(what, arch) : {}) };
  const seccomp = /\bseccomp\b/.test(what.cgoTags ?? "");
  const hasSeccomp = (): Promise<boolean> =>
    run("pkg-config", ["--exists", "libseccomp"], { timeout: 30_000, env }).then(
      () => true,
      () => false,
    );
  const isThere = async (): Promise<boolean> =>
    which(compiler) !== undefined && (!seccomp || (which("pkg-config") !== undefined && (await hasSeccomp())));
  if (await isThere()) return;
  const library = cross ? `libseccomp-dev:${arch}` : "libseccomp-dev";
  const packages = [...(cross ? [`gcc-${cross}`] : ["gcc", "libc6-dev"]), ...(seccomp ? ["pkg-config", library] : [])];
  const why = `building ${what.name} ${what.version} for ${arch}${seccomp ? " with seccomp, without which no pod starts," : ""}`;
  // Packages of another architecture need the machine's consent (dpkg --add-architecture).
  if (cross) throw new Error(`${why} needs a cross compiler and its libraries: apt-get install ${packages.join(" ")}`);
  await installPackages(packages, why, log);
  if (!(await isThere())) throw new Error(`${why} still lacks something after installing ${packages.join(", ")}`);
}
