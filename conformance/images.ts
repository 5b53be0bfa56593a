import { createHash } from "node:crypto";
import { type Log, readRecord, type StoredFile, withScratch, writeRecord } from "../toolchain/cache.ts";
import { assembleImage, type Image, type ImageSpec } from "../toolchain/images.ts";
import { buildRecipe, recipe, recipeKey } from "../toolchain/modules.ts";
import type { Arch } from "../toolchain/releases.ts";
import { buildBusybox } from "./busybox.ts";
import { packages, type Unpacked, unpackPackages } from "./debian.ts";
import { accounts, agnhostFiles, glibcFiles, linksTo, listApplets, nginxFiles, type Place } from "./image-files.ts";

/** The images that the [Conformance] specs run, as the suite of 1.36.3 names them. */
export const refs = {
  agnhost: "registry.k8s.io/e2e-test-images/agnhost:2.63.0",
  agnhostPrevious: "registry.k8s.io/e2e-test-images/agnhost:2.55",
  busybox: "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
  etcd: "registry.k8s.io/etcd:3.6.8-0",
  glibcDnsTesting: "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0",
  kitten: "registry.k8s.io/e2e-test-images/kitten:1.8",
  nautilus: "registry.k8s.io/e2e-test-images/nautilus:1.8",
  nginx: "registry.k8s.io/e2e-test-images/nginx:1.15-4",
  nonewprivs: "registry.k8s.io/e2e-test-images/nonewprivs:1.4",
  pause: "registry.k8s.io/pause:3.10.2",
  sampleApiserver: "registry.k8s.io/e2e-test-images/sample-apiserver:1.29.2",
} as const;

/** What they hold beside the suite's own programs, busybox and Debian's packages. */
const programs = [
  recipe("agnhost", "1.34.10"),
  recipe("coredns"),
  recipe("etcd", "3.6.8"),
  recipe("pause"),
  recipe("sample-apiserver", "0.29.2"),
];

/** Programs and files by output name. */
type Built = Readonly<Record<string, StoredFile>>;

// Raise it with every change of what is put into an image here or in image-files.ts.
const format = 2;

/** All images of `refs` as OCI archives, from the cache if they are there. */
export async function assembleImages(suite: Built, version: string, arch: Arch, log: Log): Promise<Image[]> {
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
  const program: Place = (name, path, mode = 0o755) => {
    const { path: source, sha256 } = take(built, name);
    return { path, source, sha256, mode };
  };
  const applets = await listApplets(take(built, "busybox").path);
  const busybox = (taken?: ReadonlySet<string>) => [program("busybox", "/bin/busybox"), ...linksTo(applets, taken)];
  const agnhost = await agnhostFiles(debian, program, busybox);
  // Root's own folders first: the suite runs `ip` and the like by name.
  const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  const dirs = { "/tmp": 0o1777, "/root": 0o700, "/uploads": 0o755 };
  const page = (name: string) => [
    program(`${name}.jpg`, `/${name}.jpg`, 0o644),
    program(`${name}.json`, "/data.json", 0o644),
  ];
  const agnhostImage = { dirs, env, entrypoint: ["/agnhost"], cmd: ["pause"] };
  const webserver = { ...agnhostImage, cmd: ["test-webserver"] };
  return [
    { ref: refs.agnhost, files: agnhost, ...agnhostImage },
    {
      ref: refs.agnhostPrevious,
      files: await agnhostFiles(debian, program, busybox, "agnhost-2.56"),
      ...agnhostImage,
    },
    { ref: refs.nautilus, files: [...agnhost, ...page("nautilus")], ...webserver },
    { ref: refs.kitten, files: [...agnhost, ...page("kitten"), osRelease], ...webserver },
    { ref: refs.busybox, files: [...accounts(), ...busybox()], dirs, env, entrypoint: [], cmd: ["sh"] },
    { ref: refs.glibcDnsTesting, files: await glibcFiles(debian), dirs, env, entrypoint: [], cmd: ["bash"] },
    {
      ref: refs.nginx,
      files: [...busybox(), ...(await nginxFiles(debian))],
      dirs,
      env,
      entrypoint: [],
      cmd: ["nginx", "-g", "daemon off;"],
    },
    {
      ref: refs.nonewprivs,
      files: [...accounts(), program("nnp", "/usr/local/bin/nnp", 0o4755)],
      dirs,
      env,
      entrypoint: [],
      cmd: ["nnp"],
    },
    {
      ref: refs.etcd,
      files: ["etcd", "etcdctl", "etcdutl"].map((name) => program(name, `/usr/local/bin/${name}`)),
      dirs: { "/tmp": 0o1777 },
      entrypoint: [],
      cmd: ["etcd"],
    },
    {
      ref: refs.sampleApiserver,
      files: [program("sample-apiserver", "/sample-apiserver")],
      dirs: { "/tmp": 0o1777 },
      entrypoint: ["/sample-apiserver"],
    },
    { ref: refs.pause, files: [program("pause", "/pause")], user: "65535:65535", entrypoint: ["/pause"] },
  ];
}

/** A spec reads this file through an image volume and asks for the name of the official image's distribution. */
const osRelease = {
  path: "/etc/os-release",
  content: 'NAME="plainkube stand-in"\nPRETTY_NAME="Stand-in for an image of Alpine Linux"\n',
};
