import { readdir, rmdir } from "node:fs/promises";
import { exists } from "./machine.ts";
import { must, run } from "./shell.ts";

/** The network that every instance has for itself. */
const NETWORK = "10.90.23";
/** The LAN namespace's own address: the hosts' default gateway, behind which there is nothing. */
export const GATEWAY = `${NETWORK}.1`;
/** The machine's address on the network of a reachable instance. */
const MACHINE = `${NETWORK}.254`;
/** The bridge in the LAN namespace. */
export const LAN_BRIDGE = "lan0";
/**
 * The bridge's own hardware address, formed as the hosts' are. Without one it has its lowest port's, and another as soon
 * as that host is off: a connection in which only a host has something to say then stands still for about ten seconds.
 */
const HARDWARE_ADDRESS = "02:00:0a:5a:17:01";
const UPLINK_PORT = "uplink";
const NAMESPACES = "/run/netns";

/** The network namespace that holds an instance's bridge. */
export function lanNamespace(instance: string): string {
  return `${NAMESPACES}/pk-${instance}-lan`;
}

/** The bridge port of the host with this address. */
export function portOf(address: string): string {
  return `host${address.split(".")[3]}`;
}

/** Why an address cannot be a host's, or undefined if it can. */
export function problemWithAddress(address: string): string | undefined {
  const last = /^10\.90\.23\.(0|[1-9]\d{0,2})$/.exec(address)?.[1];
  if (last === undefined || Number(last) > 254)
    return `address ${address}: expected one of ${NETWORK}.2 to ${NETWORK}.253`;
  if (["0", "1", "254"].includes(last))
    return `address ${address}: ${NETWORK}.0, .1 and .254 are the network's own; use another`;
  return undefined;
}

interface Link {
  readonly ifname: string;
}

/** Names of the links in an instance's LAN namespace; empty when the namespace is not there. */
export async function lanLinks(instance: string): Promise<string[]> {
  const result = await run(["nsenter", `--net=${lanNamespace(instance)}`, "ip", "-json", "link"]);
  return result.code === 0 ? (JSON.parse(result.stdout) as Link[]).map((link) => link.ifname) : [];
}

/** Makes the LAN namespace with its bridge, unless it is there. It forwards nothing and has no other way out. */
export async function ensureLan(instance: string): Promise<void> {
  if ((await lanLinks(instance)).includes(LAN_BRIDGE)) return;
  await removeLan(instance);
  await must(["ip", "netns", "add", `pk-${instance}-lan`]);
  // The bridge comes last: it is what tells a complete LAN from a half-made one.
  await inLan(
    instance,
    `set -e
     echo 0 >/proc/sys/net/ipv4/ip_forward
     if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi
     ip link set lo up
     ip link add making address ${HARDWARE_ADDRESS} type bridge
     ip address add ${GATEWAY}/24 dev making
     ip link set making name ${LAN_BRIDGE}
     ip link set ${LAN_BRIDGE} up`,
  );
}

/** Removes the LAN namespace and what connects it with the machine. */
export async function removeLan(instance: string): Promise<void> {
  await removeUplink(instance);
  if (await exists(lanNamespace(instance))) await must(["ip", "netns", "delete", `pk-${instance}-lan`]);
}

function inLan(instance: string, script: string): Promise<string> {
  return must(["nsenter", `--net=${lanNamespace(instance)}`, "sh", "-c", script]);
}

/** The machine's end of the cable to a reachable instance. */
function uplink(instance: string): string {
  return `pk-${instance}`;
}

async function hasUplink(instance: string): Promise<boolean> {
  return (await run(["ip", "link", "show", "dev", uplink(instance)])).code === 0;
}

/**
 * Plugs the machine into a reachable instance's bridge. Nothing is forwarded over that cable, either way.
 */
export async function ensureUplink(instance: string): Promise<void> {
  const name = uplink(instance);
  if ((await hasUplink(instance)) && (await lanLinks(instance)).includes(UPLINK_PORT)) return;
  await removeUplink(instance);
  await must(["ip", "link", "add", name, "type", "veth", "peer", "name", UPLINK_PORT, "netns", lanNamespace(instance)]);
  // Before the link is up: no forwarding whatever the machine's default, and no IPv6 router to be learnt from a host.
  await must([
    "sh",
    "-c",
    `set -e
     echo 0 >/proc/sys/net/ipv4/conf/${name}/forwarding
     if [ -e /proc/sys/net/ipv6/conf/${name} ]; then echo 1 >/proc/sys/net/ipv6/conf/${name}/disable_ipv6; fi
     ip address add ${MACHINE}/24 dev ${name}
     ip link set ${name} up`,
  ]);
  await inLan(instance, `ip link set ${UPLINK_PORT} master ${LAN_BRIDGE} up`);
}

export async function removeUplink(instance: string): Promise<void> {
  if (await hasUplink(instance)) await must(["ip", "link", "delete", uplink(instance)]);
}

interface Route {
  readonly dst: string;
  readonly dev?: string;
}

interface Address {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local?: string }[];
}

/** Throws if the machine has the instances' network already, by something else than this instance's cable. */
export async function refuseForeignNetwork(instance: string): Promise<void> {
  const own = uplink(instance);
  const routes = JSON.parse(await must(["ip", "-json", "-4", "route", "show", "table", "all"])) as Route[];
  const addresses = JSON.parse(await must(["ip", "-json", "-4", "address"])) as Address[];
  const inside = (text: string | undefined): boolean => text?.startsWith(`${NETWORK}.`) ?? false;
  const foreign = [
    ...routes
      .filter((r) => inside(r.dst) && r.dev !== own)
      .map((r) => `route ${r.dst} on ${r.dev ?? "(no interface)"}`),
    ...addresses
      .filter((a) => a.ifname !== own)
      .flatMap((a) => a.addr_info.filter((i) => inside(i.local)).map((i) => `address ${i.local} on ${a.ifname}`)),
  ];
  if (foreign.length === 0) return;
  const other = /on (pk-[a-z0-9-]+)/.exec(foreign.join())?.[1];
  throw new Error(
    `this machine already has ${[...new Set(foreign)].join(", ")}; expected nothing in ${NETWORK}.0/24 but the lab's own ${own}. ` +
      (other
        ? `Only one reachable lab at a time: take down instance ${other.slice(3)} first`
        : "Remove it, or use an instance that is not reachable from the machine"),
  );
}

/** Whether `ip netns` has set up its folder of names on this machine. */
export async function namespacesMounted(): Promise<boolean> {
  return (await run(["mountpoint", "--quiet", NAMESPACES])).code === 0;
}

/** Takes back the folder that `ip netns` set up, unless somebody else's namespaces are in it. */
export async function unmountNamespaces(): Promise<void> {
  if ((await exists(NAMESPACES)) && (await readdir(NAMESPACES)).length > 0) return;
  if (await namespacesMounted()) await must(["umount", NAMESPACES]);
  if (await exists(NAMESPACES)) await rmdir(NAMESPACES);
}

/** Names of the instances whose LAN namespace exists. */
export async function instancesWithLan(): Promise<string[]> {
  if (!(await exists(NAMESPACES))) return [];
  return (await readdir(NAMESPACES)).flatMap((name) => /^pk-([a-z0-9-]{1,8})-lan$/.exec(name)?.[1] ?? []);
}
