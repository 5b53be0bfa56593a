import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, chown, lstat, mkdir, open, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { OPS_USER, remove } from "./base.ts";
import { cgroupName, findInstanceCgroups, instanceParents, processesIn, readLayout, removeCgroups } from "./cgroups.ts";
import { exists } from "./machine.ts";
import { GATEWAY, LAN_BRIDGE, lanNamespace, portOf } from "./network.ts";
import { lastLines, must } from "./shell.ts";

/** One host of an instance, and the folder of its own disk. */
export interface Host {
  readonly instance: string;
  readonly name: string;
  readonly address: string;
  readonly disk: string;
}

/** What a disk was made for; it is written last, so that it tells a complete disk from a half-made one. */
interface DiskLabel {
  readonly base: string;
  readonly address: string;
}

const HOST_KEY = "upper/etc/ssh/ssh_host_ed25519_key";
const AUTHORIZED_KEYS = "upper/root/.ssh/authorized_keys";

/** The host's public key, as in a known_hosts file: type and key. */
export async function publicHostKey(host: Host): Promise<string> {
  return (await readFile(join(host.disk, `${HOST_KEY}.pub`), "utf8")).trim().split(" ").slice(0, 2).join(" ");
}

/** Whether the disk is complete, made for this address, and lets this client key in. */
export async function diskFits(host: Host, clientKey: string): Promise<boolean> {
  const label = await readLabel(host);
  if (label?.address !== host.address || !(await exists(label.base))) return false;
  const file = join(host.disk, AUTHORIZED_KEYS);
  return (await exists(file)) && (await readFile(file, "utf8")).includes(clientKey);
}

/** Makes the disk, or lets the client key in on a disk that has another one. The host must be off. */
export async function prepareDisk(host: Host, base: string, clientKey: string): Promise<void> {
  const label = await readLabel(host);
  if (label?.address === host.address && (await exists(label.base))) {
    await authorize(host, label.base, clientKey);
    return;
  }
  await remove(host.disk);
  await mkdir(join(host.disk, "upper"), { recursive: true });
  await chmod(join(host.disk, "upper"), 0o755);
  await mkdir(join(host.disk, "work"));
  await must(["cp", "--archive", join(base, "var/lib"), join(host.disk, "var-lib")]);

  await makeFolder(host, base, "etc/ssh");
  const files: Readonly<Record<string, string>> = {
    "etc/hostname": `${host.name}\n`,
    "etc/hosts": `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n${host.address} ${host.name}\n`,
    "etc/machine-id": `${randomBytes(16).toString("hex")}\n`,
    // Nothing listens there, so that a look-up fails at once instead of after a time-out.
    "etc/resolv.conf": `nameserver ${GATEWAY}\n`,
  };
  for (const [path, content] of Object.entries(files)) {
    await writeFile(join(host.disk, "upper", path), content);
    await chmod(join(host.disk, "upper", path), 0o644);
  }
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", join(host.disk, HOST_KEY)]);
  await authorize(host, base, clientKey);
  await writeFile(join(host.disk, "label.json"), JSON.stringify({ base, address: host.address } satisfies DiskLabel));
}

async function authorize(host: Host, base: string, clientKey: string): Promise<void> {
  const passwd = await readFile(join(base, "etc/passwd"), "utf8");
  const [, uid, gid] = new RegExp(`^${OPS_USER}:[^:]*:(\\d+):(\\d+):`, "m").exec(passwd) ?? [];
  if (uid === undefined || gid === undefined) {
    throw new Error(
      `${base}/etc/passwd has no user ${OPS_USER}; expected it in a base image. Delete ${base}, then try again`,
    );
  }
  const homes = [
    { home: "root", uid: 0, gid: 0 },
    { home: `home/${OPS_USER}`, uid: Number(uid), gid: Number(gid) },
  ];
  for (const { home, uid, gid } of homes) {
    await makeFolder(host, base, home);
    const folder = join(host.disk, "upper", home, ".ssh");
    const file = join(folder, "authorized_keys");
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o700);
    await writeFile(file, `${clientKey}\n`);
    await chmod(file, 0o600);
    await chown(folder, uid, gid);
    await chown(file, uid, gid);
  }
}

/** A folder in the upper layer shows in the host with the upper one's mode and owner: take over the base's. */
async function makeFolder(host: Host, base: string, path: string): Promise<void> {
  if (path === ".") return;
  await makeFolder(host, base, dirname(path));
  const folder = join(host.disk, "upper", path);
  if (await exists(folder)) return;
  const { mode, uid, gid } = await stat(join(base, path));
  await mkdir(folder);
  await chmod(folder, mode & 0o7777);
  await chown(folder, uid, gid);
}

async function readLabel(host: Host): Promise<DiskLabel | undefined> {
  const file = join(host.disk, "label.json");
  return (await exists(file)) ? (JSON.parse(await readFile(file, "utf8")) as DiskLabel) : undefined;
}

/** Switches the host on. It boots on its own from here, and outlives this process. */
export async function startHost(host: Host): Promise<void> {
  const label = await readLabel(host);
  if (!label) throw new Error(`host ${host.name}: no complete disk in ${host.disk}; create the instance again`);
  const layout = await readLayout();
  const console = await open(join(host.disk, "console.log"), "a");
  try {
    const keeper = spawn(
      "unshare",
      ["--mount", "--propagation", "slave", "bash", join(import.meta.dirname, "host-start.sh")].concat(
        [
          layout.unified ? "1" : "0",
          label.base,
          host.disk,
          `pk-${host.instance}-${host.name}`,
          host.name,
          host.address,
        ],
        [GATEWAY, lanNamespace(host.instance), portOf(host.address), LAN_BRIDGE],
        instanceParents(layout).map((parent) => join(parent, cgroupName(host.instance), host.name)),
      ),
      {
        cwd: "/",
        detached: true,
        env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" },
        stdio: ["ignore", console.fd, console.fd],
      },
    );
    await new Promise<void>((resolve, reject) => {
      keeper.once("spawn", resolve);
      keeper.once("error", reject);
    });
    keeper.unref();
  } finally {
    await console.close();
  }
}

/** Cuts the host's power: every process in it dies, its mounts and its network go with them. Its disk stays. */
export async function stopHost(host: Host): Promise<void> {
  await removeCgroups(await hostCgroups(host));
}

/** Process ids of the host, as the machine sees them; none when it is off. */
export async function hostProcesses(host: Host, part: "" | "boot" = ""): Promise<number[]> {
  return processesIn((await hostCgroups(host)).map((folder) => join(folder, part)));
}

async function hostCgroups(host: Host): Promise<string[]> {
  return (await findInstanceCgroups(host.instance)).map((folder) => join(folder, host.name));
}

/** The last lines that the host wrote to its console. */
export async function consoleTail(host: Host): Promise<string> {
  const file = join(host.disk, "console.log");
  if (!(await lstat(file).catch(() => undefined))) return "(nothing)";
  return lastLines(await readFile(file, "utf8"), 20) || "(nothing)";
}
