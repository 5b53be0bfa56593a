import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ensureBase } from "../../lab/base.ts";
import { must } from "../../lab/shell.ts";
import type { StoredFile } from "../../toolchain/cache.ts";
import { assembleImage, type Image, type ImageFile } from "../../toolchain/images.ts";
import type { Log } from "../lab.ts";

/** Where kubeadm is told to take its images from: a name that no registry serves. */
const repository = "plainkube.local";
const iptables = ["", "6"].flatMap((v) => ["", "-save", "-restore"].map((command) => `ip${v}tables${command}`));
const library = "usr/lib/x86_64-linux-gnu";

/** Programs that run in images of their own in a cluster of kubeadm, with the tag that it asks for. */
const tags = (kubernetes: string, etcd: string) => ({
  "kube-apiserver": `v${kubernetes}`,
  "kube-controller-manager": `v${kubernetes}`,
  "kube-scheduler": `v${kubernetes}`,
  "kube-proxy": `v${kubernetes}`,
  etcd,
});

/**
 * The images that kubeadm asks for, made of the very binaries that the other contenders run. CoreDNS' and pause's are the project's own.
 */
export async function kubeadmImages(
  binaries: ReadonlyMap<string, StoredFile>,
  versions: { readonly kubernetes: string; readonly etcd: string },
  log: Log,
): Promise<Image[]> {
  const images: Image[] = [];
  for (const [name, tag] of Object.entries(tags(versions.kubernetes, versions.etcd))) {
    const { path, sha256 } = binaries.get(name) ?? missing(name);
    images.push(
      await assembleImage({
        ref: `${repository}/${name}:${tag}`,
        arch: "amd64",
        files: [
          { path: `/usr/local/bin/${name}`, source: path, sha256 },
          ...(name === "kube-proxy" ? await iptablesFiles(log) : []),
        ],
        entrypoint: [`/usr/local/bin/${name}`],
        env: { PATH: "/usr/local/bin:/usr/sbin" },
      }),
    );
  }
  return images;
}

function missing(name: string): never {
  throw new Error(`${name}: got no binary, expected it among those of the stack; add it to what the bench obtains`);
}

/** iptables with its libraries, as the lab's hosts have it: kube-proxy calls it. */
async function iptablesFiles(log: Log): Promise<ImageFile[]> {
  const base = await ensureBase(log);
  const program = "/usr/sbin/xtables-nft-multi";
  const extensions = (await readdir(join(base, library, "xtables"))).map((name) => `/${library}/xtables/${name}`);
  const linked = await must(["chroot", base, "ldd", program, ...extensions]);
  const libraries = new Set([...linked.matchAll(/(\/lib\S+) \(/g)].map(([, path]) => String(path)));
  return [
    ...[program, ...libraries, ...extensions].map((path) => ({ path, source: join(base, path) })),
    ...iptables.map((name) => ({ path: `/usr/sbin/${name}`, symlink: "xtables-nft-multi" })),
  ];
}
