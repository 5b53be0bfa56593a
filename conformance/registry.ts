import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { insideLan, runOnHost } from "../lab/instance.ts";
import { GATEWAY } from "../lab/network.ts";
import { must } from "../lab/shell.ts";
import { type Log, withScratch } from "../toolchain/cache.ts";
import type { Image } from "../toolchain/images.ts";
import type { Cluster } from "./cluster.ts";

/** The registry that all images of the suite name. */
const host = "registry.k8s.io";
const port = 5000;

/** Where containerd looks for how to reach a registry, unless its configuration says otherwise. */
const certsFolder = "/etc/containerd/certs.d";

/**
 * Runs `work` while the cluster's hosts pull the images of registry.k8s.io from a registry in the lab, which has these and no
 * others. Afterwards the hosts know of it no more; images that they pulled stay.
 */
export async function withRegistry<T>(
  cluster: Cluster,
  images: readonly Image[],
  log: Log,
  work: () => Promise<T>,
): Promise<T> {
  return withScratch(async (directory) => {
    log(`serving ${images.length} images in the lab`);
    await unpack(images, directory);
    const server = await start(cluster, directory);
    const folder = `${certsFolder}/${host}`;
    try {
      const settings = `server = "http://${GATEWAY}:${port}"\ncapabilities = ["pull", "resolve"]\n`;
      await onHosts(cluster, `mkdir -p ${folder} && cat >${folder}/hosts.toml`, settings);
      return await work();
    } finally {
      server.kill();
      await onHosts(cluster, `rm -f ${folder}/hosts.toml && rmdir -p --ignore-fail-on-non-empty ${folder}`);
    }
  });
}

interface Index {
  readonly manifests: readonly { readonly digest: string; readonly mediaType: string }[];
}

/** Lays the images' blobs into one folder, with a list of what is found under which name, as the server takes it. */
export async function unpack(images: readonly Image[], directory: string): Promise<void> {
  const manifests: Record<string, { digest: string; mediaType: string }> = {};
  for (const { ref, path } of images) {
    await must(["tar", "--extract", "--file", path, "--directory", directory]);
    const index: Index = JSON.parse(await readFile(join(directory, "index.json"), "utf8"));
    const [, repository, tag] = new RegExp(`^${host}/(.+):(.+)$`).exec(ref) ?? [];
    const [manifest] = index.manifests;
    if (!repository || !manifest) {
      throw new Error(`image ${ref}: got no image of ${host}, expected one; correct it in conformance/images.ts`);
    }
    const { digest, mediaType } = manifest;
    for (const name of [tag, digest]) manifests[`${repository} ${name}`] = { digest, mediaType };
  }
  await writeFile(join(directory, "manifests.json"), JSON.stringify(manifests));
}

/** Starts the server in the lab's network and returns when it listens. */
async function start({ instance }: Cluster, directory: string): Promise<ChildProcess> {
  const script = join(import.meta.dirname, "registry-server.ts");
  const [program = "", ...args] = [...insideLan(instance), process.execPath, script, directory, GATEWAY, String(port)];
  const child = spawn(program, args, { stdio: "pipe" });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const ended = once(child, "close").then(([code]) => {
    throw new Error(`the lab's registry on ${GATEWAY}:${port} ended with code ${code}: ${errors.trim()}`);
  });
  await Promise.race([once(child.stdout, "data"), ended]);
  // It ends only when it is told to.
  ended.catch(() => undefined);
  return child;
}

/** Runs a command on every host. Throws with the first host on which it fails. */
async function onHosts({ instance }: Cluster, command: string, input = ""): Promise<void> {
  for (const { name } of instance.hosts) {
    const result = await runOnHost(instance, name, command, { input, timeoutSeconds: 60 });
    if (result.code === 0) continue;
    throw new Error(`host ${name}: \`${command}\` ended with code ${result.code}, expected 0: ${result.stderr.trim()}`);
  }
}
