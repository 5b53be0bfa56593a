import { randomBytes } from "node:crypto";
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
import type { StoredFile } from "../toolchain/cache.ts";
import { kubeadmImages } from "./kubeadm/images.ts";
import { type BenchHost, benchConfig, benchDirectory, type Log } from "./lab.ts";

/** What the shell scripts find before its clock starts. */
export interface Workspace {
  readonly directory: string;
  /** `NAME=ADDRESS` of each host. */
  readonly hosts: readonly string[];
  readonly spec: ClusterSpec;
}

/**
 * The folder that the script works in: binaries by name, unit and config files as the program renders them, and how each host is
 * reached. Keys are not in it: the script makes them, and they stay when the
 * folder is made again for one host more. Beside it, what kubeadm wants on hosts beforehand.
 */
export async function makeWorkspace(instance: LabInstance, hosts: readonly BenchHost[], log: Log): Promise<Workspace> {
  const directory = join(benchDirectory, "script");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const made of ["files", "binaries", "kubeadm", "kubectl"]) {
    await rm(join(directory, made), { recursive: true, force: true });
  }
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
  const found = await obtain(pinsFor([...names, "kubeadm"], spec.versions, "amd64", settings), settings, log);
  const link = async (to: string, path: string) => {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await symlink(to, join(directory, path));
  };
  for (const name of names) await link(pathOf(found, name), `binaries${linkOf(name, layoutOf(spec))}`);
  await link(pathOf(found, "kubectl"), "kubectl");
  for (const name of ["kubeadm", "kubelet", "kubectl"]) await link(pathOf(found, name), `kubeadm/usr/bin/${name}`);
  for (const { ref, path } of await kubeadmImages(found, spec.versions, log)) {
    await link(path, `kubeadm/opt/plainkube/images/${ref.replaceAll(/[/:]/g, "_")}.tar`);
  }
}

function pathOf(files: ReadonlyMap<string, StoredFile>, name: string): string {
  const file = files.get(name);
  if (file) return file.path;
  throw new Error(`${name}: got ${[...files.keys()].join(", ")}, expected ${name} among them`);
}

/** One connection a host, shared by all sessions. */
function sshConfig({ hosts, privateKeyFile, knownHostsFile }: LabInstance, directory: string): string {
  const named = hosts.map(({ name, address }) => `Host ${name}\n  HostName ${address}\n`);
  const common = {
    BatchMode: "yes",
    ControlMaster: "auto",
    // Never that of a host of this name that is gone.
    ControlPath: join(directory, `${randomBytes(4).toString("hex")}-%n`),
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
