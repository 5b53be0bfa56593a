import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { must } from "../lab/shell.ts";
import type { ImageFile } from "../toolchain/images.ts";
import { librariesOf, pick, type Unpacked } from "./debian.ts";

/** Puts something built, by its name, at a path of an image. */
export type Place = (name: string, path: string, mode?: number) => ImageFile;

/** What agnhost's Dockerfile puts there, with busybox for the shell and the small tools, as on Alpine. */
export async function agnhostFiles(
  debian: Unpacked,
  program: Place,
  busybox: (taken: ReadonlySet<string>) => ImageFile[],
  agnhost = "agnhost",
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
    program(agnhost, "/agnhost"),
    { path: "/agnhost-2", symlink: "agnhost" },
    program("coredns", "/coredns"),
    program("localhost.crt", "/localhost.crt", 0o644),
    program("localhost.key", "/localhost.key", 0o644),
  ];
}

/** Paths of busybox' applets in the layout that it proposes. */
export async function listApplets(busybox: string): Promise<string[]> {
  // It decides by its name what to be, and in the cache it has another.
  const list = await must(["bash", "-c", 'exec -a busybox "$0" --list-full', busybox]);
  return list.split("\n").flatMap((path) => (path ? [`/${path}`] : []));
}

/** One program under the names of all its applets, but for those that something else takes. */
export function linksTo(applets: readonly string[], taken: ReadonlySet<string> = new Set()): ImageFile[] {
  const paths = applets.filter((path) => path !== "/bin/busybox" && !taken.has(basename(path)));
  // The official image has them all in /bin.
  const links = new Set(paths.flatMap((path) => [path, `/bin/${basename(path)}`]));
  return [...links].map((path) => ({ path, symlink: "/bin/busybox" }));
}

/** A small Debian: glibc's resolver, GNU tools and dig. */
export async function glibcFiles(debian: Unpacked): Promise<ImageFile[]> {
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

/** nginx as any user, with a shell. */
export async function nginxFiles(debian: Unpacked): Promise<ImageFile[]> {
  const programs = ["/usr/sbin/nginx"];
  return [
    ...accounts(),
    ...(await Promise.all(programs.map((path) => pick(debian, path)))),
    ...(await librariesOf(debian, programs)),
    await pick(debian, "/usr/share/nginx/html/index.html"),
    { path: "/etc/nginx/nginx.conf", content: readFileSync(new URL("./nginx.conf", import.meta.url), "utf8") },
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
export function accounts(users: readonly User[] = [], groups: readonly Group[] = []): ImageFile[] {
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
