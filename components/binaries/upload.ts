import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { expandPath } from "../expand-path.ts";
import { shellWord } from "../host/shipment.ts";
import type { Layout } from "../paths.ts";
import type { Endpoint } from "../spec.ts";
import { obtain } from "./obtain.ts";
import type { BinarySettings, Pin } from "./pins.ts";
import { linkOf } from "./stages.ts";

/** How to reach the host that gets binaries. */
export interface UploadOrder {
  readonly endpoint: Endpoint;
  readonly jump?: Endpoint;
  /** As in ssh.privateKeyFile; without it, the SSH agent. */
  readonly privateKeyFile?: string;
  readonly dialAttempts: number;
  readonly dialTimeoutSeconds: number;
  /** Where the host has them. */
  readonly layout: Layout;
}

/** OpenSSH's settings for an order: pinned keys only, nothing of the user's own configuration. */
export function sshConfig(order: UploadOrder, directory: string): { config: string; knownHosts: string } {
  const block = (alias: string, e: Endpoint, extra: string[] = []) =>
    [
      `Host ${alias}`,
      `  HostName ${e.host}`,
      `  Port ${e.port}`,
      `  User ${e.user}`,
      `  HostKeyAlias ${alias}`,
      ...extra.map((line) => `  ${line}`),
    ].join("\n");
  const common = [
    "Host *",
    "  StrictHostKeyChecking yes",
    `  UserKnownHostsFile "${directory}/known_hosts"`,
    "  GlobalKnownHostsFile /dev/null",
    "  UpdateHostKeys no",
    `  ConnectionAttempts ${order.dialAttempts}`,
    `  ConnectTimeout ${order.dialTimeoutSeconds}`,
    "  ServerAliveInterval 10",
    "  ServerAliveCountMax 3",
    "  PreferredAuthentications publickey",
    "  LogLevel ERROR",
    ...(order.privateKeyFile
      ? [
          `  IdentityFile "${expandPath(order.privateKeyFile, process.cwd())}"`,
          "  IdentitiesOnly yes",
          "  IdentityAgent none",
        ]
      : []),
  ].join("\n");
  const blocks = [block("target", order.endpoint, order.jump ? ["ProxyJump jump"] : [])];
  if (order.jump) blocks.push(block("jump", order.jump));
  const keys = [`target ${order.endpoint.hostKey}`, ...(order.jump ? [`jump ${order.jump.hostKey}`] : [])];
  return { config: `${[...blocks, common].join("\n\n")}\n`, knownHosts: `${keys.join("\n")}\n` };
}

/** A command that runs a script as root and leaves standard input to it. */
const asRoot = (script: string): string =>
  `if [ "$(id -u)" = 0 ]; then run=; else run="sudo -n"; fi; exec $run bash -c ${shellWord(script)}`;

/** Sends binaries to a host and returns how many of them it lacked. */
export async function upload(
  order: UploadOrder,
  pins: readonly Pin[],
  settings: BinarySettings,
  password: string,
): Promise<number> {
  const files = await obtain(pins, settings, (line) => console.error(line));
  const directory = await mkdtemp(join(tmpdir(), "plainkube-upload-"));
  try {
    const { config, knownHosts } = sshConfig(order, directory);
    await writeFile(join(directory, "config"), config, { mode: 0o600 });
    await writeFile(join(directory, "known_hosts"), knownHosts, { mode: 0o600 });
    await writeFile(join(directory, "askpass"), '#!/bin/sh\nprintf "%s\\n" "$PLAINKUBE_KEY_PASSWORD"\n', {
      mode: 0o700,
    });

    const entries = pins.map((pin) => {
      const file = files.get(pin.name);
      if (!file) throw new Error(`no file was obtained for ${pin.name} ${pin.version}`);
      return { ...file, link: linkOf(pin.name, order.layout) };
    });
    const script = [
      `now=${Math.floor(Date.now() / 1000)}`,
      `opt=${order.layout.opt}`,
      `store=${order.layout.store}`,
      `entries='${entries.map((e) => `${e.sha256} ${e.size} ${e.link}`).join("\n")}'`,
      readFileSync(new URL("./receive.sh", import.meta.url), "utf8"),
    ].join("\n");
    const ssh = spawn("ssh", ["-F", join(directory, "config"), "-T", "target", asRoot(script)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: {
        ...process.env,
        ...(password !== "" && {
          SSH_ASKPASS: join(directory, "askpass"),
          SSH_ASKPASS_REQUIRE: "force",
          PLAINKUBE_KEY_PASSWORD: password,
        }),
      },
    });
    ssh.stdin.on("error", ignoreClosedPipe);
    const closed = once(ssh, "close");
    const needed = new Set<string>();
    let sent = false;
    for await (const line of createInterface({ input: ssh.stdout })) {
      if (line.startsWith("need ")) needed.add(line.slice(5));
      else if (line === "send") {
        sent = true;
        const missing = entries.filter(({ sha256 }) => needed.has(sha256));
        // A receiver that gives up closes the pipe; its own message says why, and its exit code is looked at below.
        await pipeline(contents(missing), ssh.stdin).catch(ignoreClosedPipe);
      }
    }
    const [code] = (await closed) as [number | null];
    if (code !== 0 || !sent) {
      const { host, port, user } = order.endpoint;
      throw new Error(
        `sending binaries to ${user}@${host}:${port} failed (ssh ended with ${code}); its message stands above. Correct the cause and run 'pulumi up' again: what has arrived is kept.`,
      );
    }
    return needed.size;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (!["EPIPE", "ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED"].includes(error.code ?? ""))
    throw error;
}

/** The content of files one after the other, each once. */
async function* contents(files: readonly { path: string; sha256: string }[]) {
  for (const { path } of new Map(files.map((file) => [file.sha256, file])).values()) {
    yield* createReadStream(path, { highWaterMark: 1 << 20 });
  }
}

if (import.meta.main) {
  const env = (name: string): string => {
    const value = process.env[name];
    if (value === undefined)
      throw new Error(`${name} is not set: upload.ts is run by the resources of components/binaries/binaries.ts`);
    return value;
  };
  const pins = env("PLAINKUBE_PINS")
    .split("\n")
    .map((line): Pin => {
      const [name = "", version = "", arch = "", digest = ""] = line.split(" ");
      return { name, version, arch: arch as Pin["arch"], digest };
    });
  try {
    const password = readFileSync(0, "utf8").trimEnd();
    const settings: BinarySettings = JSON.parse(env("PLAINKUBE_BINARIES"));
    const count = await upload(JSON.parse(env("PLAINKUBE_UPLOAD")), pins, settings, password);
    console.log(`${pins.length} in place, ${count} sent`);
  } catch (error) {
    console.error(`plainkube: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
