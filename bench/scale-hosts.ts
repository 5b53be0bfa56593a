import { generateKeyPairSync } from "node:crypto";

/** A host as `plainkube:hosts` takes it. */
export interface ScaleHost {
  readonly name: string;
  readonly address: string;
  readonly roles: readonly ("control-plane" | "worker")[];
  readonly taints?: readonly { readonly key: string; readonly effect: "NoSchedule" }[];
}

/** The control plane's host has a kubelet, too, but takes no ordinary pods: without one, kube-proxy waits there for half a minute. */
const control = {
  name: "control",
  roles: ["control-plane", "worker"],
  taints: [{ key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule" }],
} as const;

/** One host for the control plane and `workers` hosts for pods, at consecutive addresses from `first` on. */
export function scaleHosts(workers: number, first = "10.90.23.41"): ScaleHost[] {
  if (!Number.isInteger(workers) || workers < 1) throw new Error(`workers: got ${workers}, expected 1 or more`);
  const start = first.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const address = (i: number) => [24, 16, 8, 0].map((shift) => Math.floor((start + i) / 2 ** shift) % 256).join(".");
  return Array.from({ length: workers + 1 }, (_, i) =>
    i === 0 ? { ...control, address: address(i) } : { name: `worker${i}`, address: address(i), roles: ["worker"] },
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
