import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expandPath } from "../expand-path.ts";
import type { ClusterSpec, Endpoint, HostSpec } from "../spec.ts";
import { shellWord } from "./shipment.ts";

/** How to reach a host by OpenSSH. */
export interface SshTarget {
  readonly endpoint: Endpoint;
  readonly jump?: Endpoint;
  /** As in ssh.privateKeyFile; without it, the SSH agent. */
  readonly privateKeyFile?: string;
  readonly dialAttempts: number;
  readonly dialTimeoutSeconds: number;
}

/** How a stack reaches one of its hosts. */
export const sshTarget = ({ ssh }: Pick<ClusterSpec, "ssh">, host: HostSpec): SshTarget => ({
  endpoint: { host: host.address, port: host.port, user: host.user, hostKey: host.hostKey },
  ...(ssh.jump && { jump: ssh.jump }),
  ...(ssh.privateKeyFile && { privateKeyFile: ssh.privateKeyFile }),
  dialAttempts: ssh.dialAttempts,
  dialTimeoutSeconds: ssh.dialTimeoutSeconds,
});

/** OpenSSH's defaults in another order; not by `^`, which versions before 8.1 do not know. */
const ciphersByAes =
  "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";

/**
 * OpenSSH's key exchanges without those by SHA-1: ML-KEM, its first choice since 10, then by what they cost. sntrup761, the first
 * choice of OpenSSH 9, takes a tenth of a second to guard against who records all now and has a quantum computer one day: no
 * worry for what is public anyway.
 */
const exchangesByCost = [
  "mlkem768x25519-sha256",
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "ecdh-sha2-nistp521",
  "diffie-hellman-group-exchange-sha256",
  "diffie-hellman-group14-sha256",
  "diffie-hellman-group16-sha512",
  "diffie-hellman-group18-sha512",
  "sntrup761x25519-sha512",
  "sntrup761x25519-sha512@openssh.com",
];

/** Those that this machine's OpenSSH knows: it refuses a list with others. */
function knownExchanges(): string[] {
  const known = spawnSync("ssh", ["-Q", "kex"], { encoding: "utf8", timeout: 10_000 }).stdout?.split("\n") ?? [];
  return exchangesByCost.filter((name) => known.includes(name));
}

/** Whether this machine's processor has AES; where that cannot be told, it is taken for one that has not. */
function hasAes(): boolean {
  try {
    return /^(flags|Features)\s*:.*\baes\b/m.test(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return false;
  }
}

/**
 * OpenSSH's settings for a target: pinned keys only, nothing of the user's own configuration. The private key is `identity` in the directory.
 * `isPublic`: nothing secret travels.
 */
export function sshConfig(
  target: SshTarget,
  directory: string,
  isPublic = false,
): { config: string; knownHosts: string } {
  const block = (alias: string, e: Endpoint, extra: string[] = []) =>
    [
      `Host ${alias}`,
      `  HostName ${e.host}`,
      `  Port ${e.port}`,
      `  User ${e.user}`,
      `  HostKeyAlias ${alias}`,
      ...extra.map((line) => `  ${line}`),
    ].join("\n");
  // Where processors have AES, it takes half of what OpenSSH's first choice takes.
  const ciphers = hasAes() ? [`  Ciphers ${ciphersByAes}`] : [];
  const exchanges = isPublic ? knownExchanges() : [];
  // ssh replaces what begins with a percent sign.
  const folder = directory.replaceAll("%", "%%");
  const common = [
    "Host *",
    "  StrictHostKeyChecking yes",
    `  UserKnownHostsFile "${folder}/known_hosts"`,
    "  GlobalKnownHostsFile /dev/null",
    "  UpdateHostKeys no",
    `  ConnectionAttempts ${target.dialAttempts}`,
    `  ConnectTimeout ${target.dialTimeoutSeconds}`,
    "  ServerAliveInterval 10",
    "  ServerAliveCountMax 3",
    "  PreferredAuthentications publickey",
    "  LogLevel ERROR",
    ...ciphers,
    ...(exchanges.length > 0 ? [`  KexAlgorithms ${exchanges}`] : []),
    ...(target.privateKeyFile
      ? [`  IdentityFile "${folder}/identity"`, "  IdentitiesOnly yes", "  IdentityAgent none"]
      : []),
  ].join("\n");
  const blocks = [block("target", target.endpoint, target.jump ? ["ProxyJump jump"] : [])];
  if (target.jump) blocks.push(block("jump", target.jump));
  const keys = [`target ${target.endpoint.hostKey}`, ...(target.jump ? [`jump ${target.jump.hostKey}`] : [])];
  return { config: `${[...blocks, common].join("\n\n")}\n`, knownHosts: `${keys.join("\n")}\n` };
}

/** A command that runs a script as root and leaves standard input to it. */
const asRoot = (script: string): string =>
  `if [ "$(id -u)" = 0 ]; then run=; else run="sudo -n"; fi; exec $run bash -c ${shellWord(script)}`;

/** What `withSsh` hands to its user: a command line, and the environment that it needs. */
export interface SshCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Calls `use` with the command that runs a script as root on a host; what that needs on this machine is gone afterwards.
 * `isPublic`: nothing secret travels.
 */
export async function withSsh<T>(
  target: SshTarget,
  password: string,
  script: string,
  use: (command: SshCommand) => Promise<T>,
  { isPublic = false } = {},
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "plainkube-ssh-"));
  try {
    const { config, knownHosts } = sshConfig(target, directory, isPublic);
    const [configFile, askpass] = [join(directory, "config"), join(directory, "askpass")];
    await writeFile(configFile, config, { mode: 0o600 });
    await writeFile(join(directory, "known_hosts"), knownHosts, { mode: 0o600 });
    // Its own path may hold what ssh's configuration would take for something else.
    if (target.privateKeyFile) {
      await symlink(expandPath(target.privateKeyFile, process.cwd()), join(directory, "identity"));
    }
    await writeFile(askpass, '#!/bin/sh\nprintf "%s\\n" "$PLAINKUBE_KEY_PASSWORD"\n', { mode: 0o700 });
    const asked = { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force", PLAINKUBE_KEY_PASSWORD: password };
    return await use({
      program: "ssh",
      args: ["-F", configFile, "-T", "target", asRoot(script)],
      env: { ...process.env, ...(password !== "" && asked) },
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
