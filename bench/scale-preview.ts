import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { LabInstance } from "../lab/instance.ts";
import { lastLines, must } from "../lab/shell.ts";
import { LabStack, projectDirectory, stackConfig } from "../lab/stack.ts";
import { scaleHosts, unusedHostKey } from "./scale-hosts.ts";
import { measure } from "./scale-process.ts";

/** `node bench/scale-preview.ts --hosts=10,100,1000`: what previews of stacks of so many hosts take. No host is there, or asked. */
export interface PreviewOptions {
  /** Numbers of hosts. Default: 10, 100, 1000. */
  readonly hosts?: readonly number[];
  /** Whether keys stand in the stack's file instead of a known_hosts file. Default: no. */
  readonly inlineKeys?: boolean;
}

const directory = join(projectDirectory, ".lab", "scale-pv");

export async function scalePreview({ hosts = [10, 100, 1000], inlineKeys = false }: PreviewOptions = {}) {
  console.log("hosts  seconds  CPU s  peak MiB  resources  config KiB");
  for (const count of hosts) {
    await rm(directory, { recursive: true, force: true });
    try {
      const { stack, bytes } = await makeStack(count, inlineKeys);
      const taken = await measure(
        stack.command(["preview", "--diff=false", "--suppress-outputs", "--non-interactive"]),
        {
          cwd: projectDirectory,
          env: { ...process.env, ...stack.environment },
        },
      );
      const resources = /\+ (\d+) to create/.exec(taken.output)?.[1] ?? "-";
      console.log(
        [
          String(count).padStart(5),
          taken.seconds.toFixed(1).padStart(8),
          taken.cpuSeconds.toFixed(1).padStart(6),
          taken.peakMiB.toFixed(0).padStart(9),
          resources.padStart(10),
          (bytes / 1024).toFixed(0).padStart(11),
        ].join(" "),
      );
      if (taken.code !== 0) console.log(`  failed with code ${taken.code}:\n${lastLines(taken.output, 12)}`);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
}

/** A stack like `dev` with hosts that are not there. Returns the size of its settings as JSON, too. */
async function makeStack(count: number, inlineKeys: boolean): Promise<{ stack: LabStack; bytes: number }> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const privateKeyFile = join(directory, "id_ed25519");
  const knownHostsFile = join(directory, "known_hosts");
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", privateKeyFile]);
  const keyed = scaleHosts(count - 1, "172.20.0.1").map((host) => ({ ...host, hostKey: unusedHostKey() }));
  await writeFile(knownHostsFile, keyed.map(({ address, hostKey }) => `${address} ${hostKey}\n`).join(""));
  const dev = await stackConfig("dev");
  const config = {
    ...dev,
    "plainkube:hosts": keyed.map(({ hostKey, ...host }) => (inlineKeys ? { ...host, hostKey } : host)),
    "plainkube:ssh": { privateKeyFile, knownHostsFile },
    // Room for 4096 nodes.
    "plainkube:network": { podCidr: "10.128.0.0/12" },
  };
  const instance: LabInstance = {
    name: "scale-pv",
    directory,
    hosts: [],
    privateKeyFile,
    knownHostsFile,
    reachable: true,
  };
  const stack = await LabStack.open({ instance, name: "dev", config, log: (line) => console.error(line) });
  return { stack, bytes: JSON.stringify(config).length };
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { hosts: { type: "string" }, "inline-keys": { type: "boolean" } } });
  await scalePreview({
    ...(values.hosts && { hosts: values.hosts.split(",").map(Number) }),
    inlineKeys: values["inline-keys"] ?? false,
  });
}
