import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { insideLan, type LabInstance, runOnHost } from "../../lab/instance.ts";
import { buildRecipe, hostArch, recipe } from "../../toolchain/modules.ts";

/** The lab's host that the stack does not know: hollow nodes run on it, and end with it. */
export const crowdHost = { name: "crowd", address: "10.90.23.60" };

/** Runs a command on a host, with a text for its standard input; returns what it printed. Throws if it fails. */
export async function onHost(instance: LabInstance, host: string, command: string, input = ""): Promise<string> {
  const result = await runOnHost(instance, host, command, { input });
  if (result.code === 0) return result.stdout;
  throw new Error(`\`${command}\` on ${host} ended with code ${result.code}, expected 0: ${result.stderr.trim()}`);
}

/** Hollow nodes on the lab's host `crowd`, each a process with a kubelet's certificate of its own. */
export class Crowd {
  readonly #instance: LabInstance;
  readonly #controlPlane: string;
  readonly #server: string;

  constructor(instance: LabInstance, controlPlane: string, server: string) {
    this.#instance = instance;
    this.#controlPlane = controlPlane;
    this.#server = server;
  }

  /** Puts kubemark and its unit on the host. */
  async install(log: (line: string) => void): Promise<void> {
    const { kubemark } = await buildRecipe(recipe("kubemark"), { arch: hostArch(), log });
    if (!kubemark) throw new Error("the recipe kubemark built no kubemark");
    await onHost(this.#instance, crowdHost.name, "mkdir -p /opt/hollow/kubeconfigs /var/lib/hollow");
    await this.#send(kubemark.path, "/opt/hollow/kubemark");
    await this.#send(join(import.meta.dirname, "start.sh"), "/opt/hollow/start");
    await this.#send(join(import.meta.dirname, "hollow@.service"), "/etc/systemd/system/hollow@.service");
    await onHost(
      this.#instance,
      crowdHost.name,
      "chmod 755 /opt/hollow/kubemark /opt/hollow/start && systemctl daemon-reload",
    );
  }

  /** Starts the nodes from `first` to `last`, without waiting for them. */
  async start(first: number, last: number): Promise<void> {
    const script = await readFile(join(import.meta.dirname, "kubeconfigs.sh"), "utf8");
    const issue = `bash -s -- ${first} ${last} ${this.#server}`;
    const archive = await onHost(this.#instance, this.#controlPlane, issue, script);
    const unpack = "base64 --decode | tar --extract --directory=/opt/hollow/kubeconfigs";
    await onHost(this.#instance, crowdHost.name, unpack, archive);
    // A kubelet looks its own name up, and waits for the answer before it registers.
    const known = `for i in $(seq ${first} ${last}); do echo "${crowdHost.address} hollow-$i"; done >>/etc/hosts`;
    const begin = `for i in $(seq ${first} ${last}); do echo "hollow@$i.service"; done | xargs systemctl start --no-block`;
    await onHost(this.#instance, crowdHost.name, `${known}; ${begin}`);
  }

  /** Memory of all nodes together in MiB, what they share counted once, and their processor time in seconds. */
  async taken(): Promise<{ readonly memoryMiB: number; readonly cpuSeconds: number; readonly processes: number }> {
    const text = await onHost(
      this.#instance,
      crowdHost.name,
      `for pid in $(pgrep --exact kubemark); do awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup"; awk '{ print "t", $14 + $15 }' "/proc/$pid/stat"; done | awk '$1 == "t" { ticks += $2; n++; next } { kib += $1 } END { print kib + 0, ticks + 0, n + 0 }'`,
    );
    const [kib = 0, ticks = 0, processes = 0] = text.trim().split(" ").map(Number);
    return { memoryMiB: kib / 1024, cpuSeconds: ticks / 100, processes };
  }

  async #send(file: string, path: string): Promise<void> {
    const { privateKeyFile, knownHostsFile } = this.#instance;
    const options = [`UserKnownHostsFile=${knownHostsFile}`, "BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR"];
    const [program = "", ...args] = [
      ...insideLan(this.#instance),
      ...["ssh", "-F", "none", "-i", privateKeyFile, ...options.flatMap((option) => ["-o", option])],
      `root@${crowdHost.address}`,
      `cat >${path}`,
    ];
    const ssh = spawn(program, args, { stdio: ["pipe", "inherit", "inherit"] });
    const closed = once(ssh, "close");
    await pipeline(createReadStream(file), ssh.stdin);
    const [code] = (await closed) as [number | null];
    if (code !== 0) throw new Error(`sending ${file} to ${crowdHost.name} ended with code ${code}, expected 0`);
  }
}
