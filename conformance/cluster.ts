import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clusterSchema } from "../components/schema.ts";
import { createInstance, destroyInstance, type LabInstance, listInstances } from "../lab/instance.ts";
import { LabStack, prepare, projectDirectory, stackConfig } from "../lab/stack.ts";
import type { Log } from "../toolchain/cache.ts";

/** A cluster to run the suite against. */
export interface Cluster {
  readonly instance: LabInstance;
  readonly kubeconfig: string;
  readonly kubectl: string;
  /** Version without a leading v. */
  readonly kubernetes: string;
  readonly dnsDomain: string;
}

const labDirectory = (name: string) => join(projectDirectory, ".lab", name);

/** Where the results of runs lie. */
export const reportDirectory = labDirectory("conf-report");

const ownName = "conf";
const devName = "dev";

/** The suite's own cluster: the hosts and settings of `Pulumi.dev.yaml` in an instance of their own, brought up or completed. */
export async function ownCluster(log: Log): Promise<Cluster> {
  const directory = labDirectory(ownName);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const config: Record<string, unknown> = {
    ...(await stackConfig(devName)),
    "plainkube:clusterName": ownName,
    "plainkube:ssh": { privateKeyFile: join(directory, "id_ed25519"), knownHostsFile: join(directory, "known_hosts") },
  };
  const facts = await factsOf(config, log);
  const hosts = clusterSchema.shape.hosts.parse(config["plainkube:hosts"]);
  const instance = await createInstance({ name: ownName, directory, hosts, reachable: false, log });
  const stack = await LabStack.open({ instance, name: ownName, config, log });
  log(`pulumi up of stack ${ownName} on ${hosts.map((host) => host.name).join(" and ")}`);
  const up = await stack.pulumi(["up", "--yes", "--skip-preview", "--suppress-outputs", "--diff=false"]);
  if (up.code !== 0) {
    throw new Error(`pulumi up of stack ${ownName} ended with code ${up.code}, expected 0:\n${up.stdout}${up.stderr}`);
  }
  const kubeconfig = join(directory, "kubeconfig");
  await writeFile(kubeconfig, String((await stack.outputs()).kubeconfig), { mode: 0o600 });
  return { instance, kubeconfig, ...facts };
}

/** Removes the suite's own cluster with all that belongs to it; the reports stay. */
export async function removeOwnCluster(log: Log): Promise<void> {
  await destroyInstance(ownName, labDirectory(ownName), log);
  await rm(labDirectory(ownName), { recursive: true, force: true });
}

/** The lab that `npm run lab` made. Throws if it does not run. */
export async function devCluster(log: Log): Promise<Cluster> {
  const directory = labDirectory(devName);
  const kubeconfig = join(directory, "kubeconfig");
  const found = (await listInstances()).find((one) => one.name === devName && one.directory === directory);
  if (!found?.running || !existsSync(kubeconfig)) {
    throw new Error(`lab ${devName}: got none that runs, expected one with a cluster; make it with \`npm run lab\``);
  }
  const facts = await factsOf(await stackConfig(devName), log);
  const { hosts, reachable } = found;
  const files = { privateKeyFile: join(directory, "id_ed25519"), knownHostsFile: join(directory, "known_hosts") };
  return { instance: { name: devName, directory, hosts, reachable, ...files }, kubeconfig, ...facts };
}

/** What the configuration says, with everything that the hosts need made ready on this machine. */
async function factsOf(
  config: Readonly<Record<string, unknown>>,
  log: Log,
): Promise<Omit<Cluster, "instance" | "kubeconfig">> {
  const { kubernetes } = clusterSchema.shape.versions.parse(config["plainkube:versions"] ?? {});
  const { dnsDomain } = clusterSchema.shape.network.parse(config["plainkube:network"] ?? {});
  return { kubernetes, dnsDomain, ...(await prepare(config, log)) };
}
