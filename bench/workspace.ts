import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { obtain, resolveSource } from "../components/binaries/obtain.ts";
import { pinsFor } from "../components/binaries/pins.ts";
import { linkOf, stagesOf } from "../components/binaries/stages.ts";
import { modeOf } from "../components/host/shipment.ts";
import { layoutOf } from "../components/paths.ts";
import { type ClusterSpec, parseCluster } from "../components/spec.ts";
import type { LabInstance } from "../lab/instance.ts";
import { projectDirectory } from "../lab/stack.ts";
import { payloadsOf } from "../tests/unit/payloads.ts";
import { type BenchHost, benchConfig, benchDirectory, type Log } from "./lab.ts";

/** What the shell script finds before its clock starts. */
export interface Workspace {
  readonly directory: string;
  /** `NAME=ADDRESS` of each host. */
  readonly hosts: readonly string[];
  readonly spec: ClusterSpec;
}

/**
 * The folder that the script works in: binaries by name, unit and config files as the program renders them, and how each host is
 * reached. Keys are not in it: the script makes them.
 */
export async function makeWorkspace(instance: LabInstance, hosts: readonly BenchHost[], log: Log): Promise<Workspace> {
  const directory = join(benchDirectory, "script");
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const spec = await specOf(hosts);
  for (const host of spec.hosts) {
    for (const { path, content, mode = modeOf(path) } of Object.values(payloadsOf(spec, host)).flatMap(
      (p) => p.files,
    )) {
      const file = join(directory, "files", host.name, path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content, { mode: Number.parseInt(mode, 8) });
    }
  }
  await linkBinaries(spec, directory, log);
  await writeFile(join(directory, "ssh_config"), sshConfig(instance, directory));
  return { directory, hosts: hosts.map(({ name, address }) => `${name}=${address}`), spec };
}

/** The configuration of these hosts as the program reads it. They must be there: their keys are pinned. */
export async function specOf(hosts: readonly BenchHost[]): Promise<ClusterSpec> {
  const raw = Object.entries(await benchConfig(hosts)).map(([key, value]) => [key.replace(/^plainkube:/, ""), value]);
  const around = { projectDirectory, isPreview: false, agentSocket: undefined };
  return parseCluster(Object.fromEntries(raw), around);
}

async function linkBinaries(spec: ClusterSpec, directory: string, log: Log): Promise<void> {
  const settings = await resolveSource(spec.binaries, log);
  const names = [...new Set(Object.values(stagesOf(spec)).flat())];
  const found = await obtain(pinsFor(names, spec.versions, "amd64", settings), settings, log);
  for (const [name, { path }] of found) {
    const link = join(directory, "binaries", linkOf(name, layoutOf(spec)));
    await mkdir(dirname(link), { recursive: true });
    await symlink(path, link);
    if (name === "kubectl") await symlink(path, join(directory, name));
  }
}

/** One connection a host, shared by all sessions, with the cheapest cipher that sshd's defaults let in. */
function sshConfig({ hosts, privateKeyFile, knownHostsFile }: LabInstance, directory: string): string {
  const named = hosts.map(({ name, address }) => `Host ${name}\n  HostName ${address}\n`);
  const common = {
    BatchMode: "yes",
    Ciphers: "aes128-gcm@openssh.com",
    ControlMaster: "auto",
    ControlPath: join(directory, "%n.sock"),
    // Ends by itself soon after the script.
    ControlPersist: "5",
    GlobalKnownHostsFile: "/dev/null",
    HostKeyAlgorithms: "ssh-ed25519",
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    IdentityFile: privateKeyFile,
    LogLevel: "ERROR",
    StrictHostKeyChecking: "yes",
    User: "root",
    UserKnownHostsFile: knownHostsFile,
  };
  const lines = Object.entries(common).map(([key, value]) => `  ${key} ${value}\n`);
  return [...named, "Host *\n", ...lines].join("");
}
