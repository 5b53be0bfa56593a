import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

export const run: (file: string, args: string[]) => Promise<{ stdout: string; stderr: string }> = promisify(execFile);

/** A key pair made for one test run. */
export interface KeyPair {
  readonly path: string;
  readonly privateKey: string;
  /** One line, as in an authorized_keys file. */
  readonly publicKey: string;
}

export async function makeKey(path: string, passphrase = "", type = "ed25519"): Promise<KeyPair> {
  await run("ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-C", "test", "-f", path]);
  return {
    path,
    privateKey: await readFile(path, "utf8"),
    publicKey: (await readFile(`${path}.pub`, "utf8")).trim(),
  };
}

/** A TCP port of 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") {
    throw new Error(`no port: ${address}`);
  }
  return address.port;
}

/** A real OpenSSH server on 127.0.0.1 that lets the given keys in. */
export class Sshd {
  readonly port: number;
  readonly hostKey: KeyPair;
  readonly #process: ChildProcess;
  #log = "";

  private constructor(port: number, hostKey: KeyPair, process: ChildProcess) {
    this.port = port;
    this.hostKey = hostKey;
    this.#process = process;
    process.stderr?.on("data", (chunk: Buffer) => {
      this.#log += chunk;
    });
  }

  /** `settings`: lines of sshd_config. */
  static async start(
    dir: string,
    clients: readonly KeyPair[],
    hostKeyType = "ed25519",
    settings: readonly string[] = [],
  ): Promise<Sshd> {
    await mkdir(dir, { mode: 0o755 });
    if (process.getuid?.() === 0) {
      // Where sshd confines its unprivileged half. It lies on a file system that is empty after a boot.
      await mkdir("/run/sshd", { recursive: true, mode: 0o755 });
    }
    const hostKey = await makeKey(join(dir, "host_key"), "", hostKeyType);
    await writeFile(join(dir, "authorized_keys"), clients.map((key) => `${key.publicKey}\n`).join(""));
    const port = await freePort();
    const config = [
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${hostKey.path}`,
      "PidFile none",
      `AuthorizedKeysFile ${join(dir, "authorized_keys")}`,
      "StrictModes no",
      "UsePAM no",
      "PermitRootLogin yes",
      "PasswordAuthentication yes",
      "KbdInteractiveAuthentication no",
      "LogLevel VERBOSE",
      "AcceptEnv GREETING PULUMI_COMMAND_*",
      "Subsystem sftp internal-sftp",
      ...settings,
    ];
    await writeFile(join(dir, "sshd_config"), `${config.join("\n")}\n`);
    const sshd = new Sshd(
      port,
      hostKey,
      spawn("/usr/sbin/sshd", ["-D", "-e", "-f", join(dir, "sshd_config")], { stdio: ["ignore", "ignore", "pipe"] }),
    );
    await sshd.#listening();
    return sshd;
  }

  /** What the server has logged. */
  get log(): string {
    return this.#log;
  }

  stop(): void {
    this.#process.kill();
  }

  async #listening(): Promise<void> {
    for (let tries = 0; tries < 100; tries++) {
      if (this.#process.exitCode !== null) {
        break;
      }
      const open = await new Promise<boolean>((resolve) => {
        const socket = createConnection(this.port, "127.0.0.1", () => {
          socket.destroy();
          resolve(true);
        });
        socket.on("error", () => resolve(false));
      });
      if (open) {
        return;
      }
      await sleep(50);
    }
    throw new Error(`sshd does not listen on port ${this.port}:\n${this.#log}`);
  }
}

/** An SSH agent that holds the given keys. */
export async function startAgent(socket: string, keys: readonly KeyPair[]): Promise<ChildProcess> {
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  for (let tries = 0; ; tries++) {
    try {
      await promisify(execFile)("ssh-add", ["-q", ...keys.map((key) => key.path)], {
        env: { ...process.env, SSH_AUTH_SOCK: socket },
      });
      return agent;
    } catch (error) {
      if (tries === 50) {
        agent.kill();
        throw error;
      }
      await sleep(50);
    }
  }
}
