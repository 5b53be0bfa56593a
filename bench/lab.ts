import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createInstance, destroyInstance, type LabInstance, runOnHost } from "../lab/instance.ts";
import { LabStack, projectDirectory, stackConfig } from "../lab/stack.ts";

export type Log = (line: string) => void;

/** A host of the stack's configuration. */
export interface BenchHost {
  readonly name: string;
  readonly address: string;
  readonly roles: readonly string[];
}

const name = "bench";
/** All that a run of the benchmark leaves lies below it, its results included. */
export const benchDirectory = join(projectDirectory, ".lab", name);
const directory = join(benchDirectory, "lab");

/** Hosts node1 … nodeN; the first has the control plane, each is a worker. */
export const benchHosts = (count: number): BenchHost[] =>
  Array.from({ length: count }, (_, i) => ({
    name: `node${i + 1}`,
    address: `10.90.23.${41 + i}`,
    roles: i === 0 ? ["control-plane", "worker"] : ["worker"],
  }));

/** The configuration of the stack `dev` for these hosts. */
export async function benchConfig(hosts: readonly BenchHost[]): Promise<Record<string, unknown>> {
  const below = `.lab/${name}/lab`;
  return {
    ...(await stackConfig("dev")),
    "plainkube:hosts": hosts,
    "plainkube:ssh": { privateKeyFile: `${below}/id_ed25519`, knownHostsFile: `${below}/known_hosts` },
  };
}

/** Hosts as they come from the installer: what the last contender left is gone, whoever it was. */
export async function freshHosts(hosts: readonly BenchHost[], log: Log): Promise<LabInstance> {
  await removeHosts(log);
  return withHosts(hosts, log);
}

/** These hosts: those that run are left alone, others are made and booted to the end. */
export async function withHosts(hosts: readonly BenchHost[], log: Log): Promise<LabInstance> {
  const instance = await createInstance({ name, directory, hosts, reachable: false, log });
  await Promise.all(hosts.map(({ name }) => runOnHost(instance, name, "systemctl is-system-running --wait")));
  return instance;
}

/** Takes the hosts away, with the state of the stack. */
export async function removeHosts(log: Log): Promise<void> {
  await destroyInstance(name, directory, log);
  await rm(directory, { recursive: true, force: true });
}

/** The stack for these hosts; empty after `freshHosts`. `more` is added to its configuration. */
export const benchStack = async (
  instance: LabInstance,
  hosts: readonly BenchHost[],
  log: Log,
  more: Readonly<Record<string, unknown>> = {},
): Promise<LabStack> =>
  LabStack.open({ instance, name: "dev", config: { ...(await benchConfig(hosts)), ...more }, log });
