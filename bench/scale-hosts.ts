import { generateKeyPairSync } from "node:crypto";

/** A host as `plainkube:hosts` takes it. */
export interface ScaleHost {
  readonly name: string;
  readonly address: string;
  readonly roles: readonly ("control-plane" | "worker")[];
}

/** One host for the control plane alone and `workers` hosts for pods, at consecutive addresses from `first` on. */
export function scaleHosts(workers: number, first = "10.90.23.41"): ScaleHost[] {
  if (!Number.isInteger(workers) || workers < 1) throw new Error(`workers: got ${workers}, expected 1 or more`);
  const start = first.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const address = (i: number) => [24, 16, 8, 0].map((shift) => Math.floor((start + i) / 2 ** shift) % 256).join(".");
  return Array.from({ length: workers + 1 }, (_, i) =>
    i === 0
      ? { name: "control", address: address(i), roles: ["control-plane"] }
      : { name: `worker${i}`, address: address(i), roles: ["worker"] },
  );
}

/** A public host key in the form of a known_hosts file, made for nobody. */
export function unusedHostKey(): string {
  const { publicKey } = generateKeyPairSync("ed25519");
  const field = (content: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(content.length);
    return Buffer.concat([length, content]);
  };
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  return `ssh-ed25519 ${Buffer.concat([field(Buffer.from("ssh-ed25519")), field(raw)]).toString("base64")}`;
}
