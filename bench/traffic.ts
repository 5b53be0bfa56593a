import { insideLan, type LabInstance, runOnHost } from "../lab/instance.ts";
import { LAN_BRIDGE } from "../lab/network.ts";
import { must } from "../lab/shell.ts";

/** What has passed between the workstation and the hosts of an instance. */
export interface Traffic {
  /** Host → SSH connections that it has accepted. */
  readonly connections: Readonly<Record<string, number>>;
  /** Bytes that the workstation has sent, headers of all layers included. */
  readonly sentBytes: number;
}

/** The counters at one moment. */
export interface TrafficLook extends Traffic {
  /** `sentBytes` before the hosts were asked for their connections. */
  readonly sentBefore: number;
}

// Counts the connection that asks, too.
const acceptedConnections =
  "journalctl --sync && journalctl --quiet --no-pager --output=cat --identifier=sshd --grep='^Accepted publickey' | wc -l";

/** The counters as they stand. To ask is a connection of its own. */
export async function trafficOf(instance: LabInstance): Promise<TrafficLook> {
  const sentBefore = await sentBytes(instance);
  const counted = instance.hosts.map(async ({ name }) => {
    const { code, stdout, stderr } = await runOnHost(instance, name, acceptedConnections);
    const count = Number(stdout);
    if (code !== 0 || stdout.trim() === "" || Number.isNaN(count)) {
      throw new Error(
        `${name}: its SSH connections cannot be counted: got ${JSON.stringify(stdout)}, expected a number\n${stderr}`,
      );
    }
    return [name, count] as const;
  });
  const connections = Object.fromEntries(await Promise.all(counted));
  return { connections, sentBefore, sentBytes: await sentBytes(instance) };
}

interface Link {
  readonly ifname: string;
  readonly stats64: { readonly tx: { readonly bytes: number }; readonly rx: { readonly bytes: number } };
}

/** Bytes that the workstation has put on the hosts' network: inside it by the bridge itself, from outside by its cable. */
async function sentBytes(instance: LabInstance): Promise<number> {
  const links: Link[] = JSON.parse(await must([...insideLan(instance), "ip", "-json", "-statistics", "link"]));
  const of = (name: string) => links.find(({ ifname }) => ifname === name)?.stats64;
  return (of(LAN_BRIDGE)?.tx.bytes ?? 0) + (of("uplink")?.rx.bytes ?? 0);
}

/** What passed between two looks, without those of the looks. Hosts that joined between them count from nothing. */
export function between(before: TrafficLook, after: TrafficLook): Traffic {
  const counts = Object.entries(after.connections).map(([host, count]) => [
    host,
    count - (before.connections[host] ?? 0) - 1,
  ]);
  return { connections: Object.fromEntries(counts), sentBytes: after.sentBefore - before.sentBytes };
}
