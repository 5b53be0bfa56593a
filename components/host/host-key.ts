import { createHash } from "node:crypto";
import type { SshTarget } from "./ssh.ts";

/** A public key's fingerprint, as OpenSSH writes it. `key` is its type and its base64. */
export function fingerprint(key: string): string {
  const [type = "", content = ""] = key.split(" ");
  const hash = createHash("sha256").update(Buffer.from(content, "base64")).digest("base64").replace(/=+$/, "");
  return `${type} SHA256:${hash}`;
}

/** What to say where OpenSSH refused a host's key; undefined if that is not what it says. */
export function hostKeyProblem({ endpoint, jump }: SshTarget, said: string): string | undefined {
  if (!said.includes("Host key verification failed")) return undefined;
  const { host, port, hostKey } = jump && /\bjump\b/.test(said) ? jump : endpoint;
  const [, type, sent] =
    said.match(/fingerprint for the (\S+) key sent by the remote host is\s+(SHA256:[\w+/]+)/) ?? [];
  return [
    `${host}:${port} has another host key than the pinned one; nothing was sent to it`,
    `got:      ${sent ? `${type} ${sent}` : "another key"}`,
    `expected: ${fingerprint(hostKey)}, as plainkube:hosts[].hostKey (of a jump host: plainkube:ssh.jump.hostKey) or the file of plainkube:ssh.knownHostsFile pins it`,
    "Another machine may answer in its place. If you know why the key changed (the host was installed anew), pin the new one there, and run 'pulumi up' again.",
  ].join("\n  ");
}
