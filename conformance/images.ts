import { createHash } from "node:crypto";
import { basename } from "node:path";
import { must } from "../lab/shell.ts";
import { type Log, readRecord, type StoredFile, withScratch, writeRecord } from "../toolchain/cache.ts";
import { assembleImage, type Image, type ImageFile, type ImageSpec } from "../toolchain/images.ts";
import { buildRecipe, recipe, recipeKey } from "../toolchain/modules.ts";
import type { Arch } from "../toolchain/releases.ts";
import { buildBusybox } from "./busybox.ts";
import { librariesOf, packages, pick, type Unpacked, unpackPackages } from "./debian.ts";

/** The suite's images that are put together here, as the suite of 1.36.3 names them. */
export const refs = {
  agnhost: "registry.k8s.io/e2e-test-images/agnhost:2.63.0",
  busybox: "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
  glibcDnsTesting: "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0",
  nautilus: "registry.k8s.io/e2e-test-images/nautilus:1.8",
  nonewprivs: "registry.k8s.io/e2e-test-images/nonewprivs:1.4",
  pause: "registry.k8s.io/pause:3.10.2",
} as const;

/** Programs and files by output name. */
type Built = Readonly<Record<string, StoredFile>>;

// Raise it with every change of what is put into an image below.
const format = 1;

/** All images of `refs` as OCI archives, from the cache if they are there. */
export async function assembleImages(suite: Built, version: string, arch: Arch, log: Log): Promise<Image[]> {
  const programs = ["coredns", "pause"].map((name) => recipe(name));
  const busybox = await buildBusybox(arch, log);
  const keys = [recipe("conformance", version), ...programs]
    .map((what) => recipeKey(what, arch))
    .concat(busybox.sha256);
  const key = `conformance-images:${createHash("sha256")
    .update(JSON.stringify([format, refs, packages, keys]))
    .digest("hex")}`;
  const names = Object.values(refs);
  const at = await readRecord(key);
  if (at) return names.map((ref) => ({ ref, ...take(at, ref) }));
  const built: Record<string, StoredFile> = { ...suite, busybox };
  for (const what of programs) Object.assign(built, await buildRecipe(what, { arch, log }));
  return withScratch(async (dir) => {
    const debian = await unpackPackages(dir, log);
    log(`assembling ${names.length} images`);
    const images = await Promise.all((await specsOf(built, debian)).map((spec) => assembleImage({ arch, ...spec })));
    await writeRecord(key, Object.fromEntries(images.map(({ ref, ...file }) => [ref, file])), { suite: version, arch });
    return images;
  });
}

function take(files: Built, name: string): StoredFile {
  const file = files[name];
  if (file) return file;
  throw new Error(`${name}: got no such result of the build, expected one; correct the recipe in toolchain/modules.ts`);
}

async function specsOf(built: Built, debian: Unpacked): Promise<Omit<ImageSpec, "arch">[]> {
  const program = (name: string, path: string, mode = 0o755): ImageFile => {
    const { path: source, sha256 } = take(built, name);
    return { path, source, sha256, mode };
  };
  const applets = await listApplets(take(built, "busybox").path);
  const busybox = (taken?: ReadonlySet<string>) => [program("busybox", "/bin/busybox"), ...linksTo(applets, taken)];
  const agnhost = await agnhostFiles(debian, program, busybox);
  // Root's own folders first: the suite runs `ip` and the like by name.
  const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  const dirs = { "/tmp": 0o1777, "/root": 0o700, "/uploads": 0o755 };
  return [
    { ref: refs.agnhost, files: agnhost, dirs, env, entrypoint: ["/agnhost"], cmd: ["pause"] },
    {
      ref: refs.nautilus,
      files: [
        ...agnhost,
        program("nautilus.jpg", "/nautilus.jpg", 0o644),
        program("nautilus.json", "/data.json", 0o644),
      ],
      dirs,
      env,
      entrypoint: ["/agnhost"],
      cmd: ["test-webserver"],
    },
    { ref: refs.busybox, files: [...accounts(), ...busybox()], dirs, env, entrypoint: [], cmd: ["sh"] },
    { ref: refs.glibcDnsTesting, files: await glibcFiles(debian), dirs, env, entrypoint: [], cmd: ["bash"] },
    {
      ref: refs.nonewprivs,
      files: [...accounts(), program("nnp", "/usr/local/bin/nnp", 0o4755)],
      dirs,
      env,
      entrypoint: [],
      cmd: ["nnp"],
    },
    { ref: refs.pause, files: [program("pause", "/pause")], user: "65535:65535", entrypoint: ["/pause"] },
  ];
}

/** What its Dockerfile puts there, with busybox for the shell and the small tools, as on Alpine. */
async function agnhostFiles(
  debian: Unpacked,
  program: (name: string, path: string, mode?: number) => ImageFile,
  busybox: (taken: ReadonlySet<string>) => ImageFile[],
): Promise<ImageFile[]> {
  const dynamic = [
    "/bin/bash",
    "/bin/ip",
    "/bin/nc.openbsd",
    "/bin/ss",
    "/usr/bin/curl",
    "/usr/bin/dig",
    "/usr/bin/getent",
    "/usr/bin/host",
    "/usr/bin/iperf",
    "/usr/bin/ipcs",
    "/usr/bin/nslookup",
  ];
  const names = new Set(["nc", ...dynamic.map((path) => basename(path))]);
  const users = [{ name: "user-defined-in-image", uid: 1000 }];
  const groups = [{ name: "group-defined-in-image", gid: 50000, members: ["user-defined-in-image"] }];
  return [
    ...accounts(users, groups),
    ...busybox(names),
    ...(await Promise.all(dynamic.map((path) => pick(debian, path)))),
    ...(await librariesOf(debian, dynamic)),
    { path: "/usr/bin/nc", symlink: "/bin/nc.openbsd" },
    { path: "/usr/local/bin/iperf", symlink: "/usr/bin/iperf" },
    program("agnhost", "/agnhost"),
    { path: "/agnhost-2", symlink: "agnhost" },
    program("coredns", "/coredns"),
    program("localhost.crt", "/localhost.crt", 0o644),
    program("localhost.key", "/localhost.key", 0o644),
  ];
}

/** Paths of busybox' applets in the layout that it proposes. */
async function listApplets(busybox: string): Promise<string[]> {
  // It decides by its name what to be, and in the cache it has another.
  const list = await must(["bash", "-c", 'exec -a busybox "$0" --list-full', busybox]);
  return list.split("\n").flatMap((path) => (path ? [`/${path}`] : []));
}

/** One program under the names of all its applets, but for those that something else takes. */
function linksTo(applets: readonly string[], taken: ReadonlySet<string> = new Set()): ImageFile[] {
  const paths = applets.filter((path) => path !== "/bin/busybox" && !taken.has(basename(path)));
  // The official image has them all in /bin.
  const links = new Set(paths.flatMap((path) => [path, `/bin/${basename(path)}`]));
  return [...links].map((path) => ({ path, symlink: "/bin/busybox" }));
}

/** A small Debian: glibc's resolver, GNU tools and dig. */
async function glibcFiles(debian: Unpacked): Promise<ImageFile[]> {
  const programs = [
    ...["bash", "cat", "date", "echo", "grep", "hostname", "ls", "mkdir", "rm", "sed", "sleep"].map((n) => `/bin/${n}`),
    ...["dig", "env", "getent", "head", "host", "id", "mawk", "nslookup", "seq", "sort", "test", "tr", "wc"].map(
      (n) => `/usr/bin/${n}`,
    ),
  ];
  return [
    ...accounts(),
    ...(await Promise.all(programs.map((path) => pick(debian, path)))),
    ...(await librariesOf(debian, programs)),
    { path: "/bin/sh", symlink: "bash" },
    { path: "/usr/bin/awk", symlink: "mawk" },
  ];
}

interface User {
  readonly name: string;
  readonly uid: number;
}

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Users, groups and the order in which names are looked up. */
function accounts(users: readonly User[] = [], groups: readonly Group[] = []): ImageFile[] {
  const passwd = [
    "root:x:0:0:root:/root:/bin/sh",
    ...users.map(({ name, uid }) => `${name}:x:${uid}:${uid}::/:/bin/sh`),
    "nobody:x:65534:65534:nobody:/:/bin/false",
  ];
  const group = [
    "root:x:0:",
    ...users.map(({ name, uid }) => `${name}:x:${uid}:`),
    ...groups.map(({ name, gid, members }) => `${name}:x:${gid}:${members.join(",")}`),
    "nogroup:x:65534:",
  ];
  const file = (path: string, lines: readonly string[]): ImageFile => ({ path, content: `${lines.join("\n")}\n` });
  return [
    file("/etc/passwd", passwd),
    file("/etc/group", group),
    file("/etc/nsswitch.conf", ["passwd: files", "group: files", "hosts: files dns"]),
  ];
}
