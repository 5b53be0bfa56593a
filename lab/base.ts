import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheRoot, withLock } from "../toolchain/cache.ts";
import { exists, readAptSource } from "./machine.ts";
import { must } from "./shell.ts";

const PACKAGES = [
  "systemd",
  "systemd-sysv",
  "dbus",
  "openssh-server",
  "sudo",
  "iproute2",
  "iptables",
  "nftables",
  "conntrack",
  "ethtool",
  "socat",
  "procps",
  "kmod",
  "ca-certificates",
  "curl",
  "ipset",
];

/** Raise it when the steps below change what they make. */
const RECIPE = 1;

/** The user beside root that can log in to a host, with passwordless sudo. */
export const OPS_USER = "ops";

// They would wait for a network, trim the machine's disks, empty its crash store or read a terminal that is not there.
const MASKED = [
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "fstrim.timer",
  "systemd-pstore.service",
  "console-getty.service",
  "getty.target",
];

const SOURCES = join(import.meta.dirname, "host");

/**
 * The root file system that all test hosts start from: the machine's own release with systemd and sshd, without keys,
 * name and machine id. It is made once per recipe, in the cache, and never changed. Returns its folder.
 */
export async function ensureBase(log: (line: string) => void): Promise<string> {
  const source = await readAptSource();
  const hash = createHash("sha256").update(JSON.stringify([RECIPE, source.suite, process.arch, PACKAGES, MASKED]));
  for (const name of (await readdir(SOURCES)).sort()) hash.update(name).update(await readFile(join(SOURCES, name)));
  const folder = join(cacheRoot(), "host-base");
  const base = join(folder, `${source.suite}-${hash.digest("hex").slice(0, 16)}`);
  if (await exists(base)) return base;
  return withLock("host-base", log, async () => {
    if (await exists(base)) return base;
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder)) {
      if (name.endsWith(".part")) await remove(join(folder, name));
    }
    const part = `${base}.part`;
    log(`making the hosts' base image from ${source.suite}, once (1 to 2 minutes)`);
    let said = Date.now();
    const progress = (line: string): void => {
      if (Date.now() - said < 5000) return;
      said = Date.now();
      log(`  base image: ${line.replace(/^I: /, "")}`);
    };
    const keyring = source.keyring ? [`--keyring=${source.keyring}`] : [];
    await must(
      // An own mount namespace: what debootstrap mounts is gone with it, however it ends.
      ["unshare", "--mount", "debootstrap", "--variant=minbase", "--force-check-gpg", ...keyring].concat(
        `--components=${source.components.join(",")}`,
        `--include=${PACKAGES.join(",")}`,
        source.suite,
        part,
        source.mirror,
      ),
      { onLine: progress },
    );
    await finish(part);
    await rename(part, base);
    return base;
  });
}

async function finish(root: string): Promise<void> {
  const at = (path: string): string => join(root, path);
  await chmod(root, 0o755);
  await must(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", OPS_USER]);
  await writeFile(at(`etc/sudoers.d/${OPS_USER}`), `${OPS_USER} ALL=(ALL) NOPASSWD: ALL\n`, { mode: 0o440 });
  await writeFile(at("etc/ssh/sshd_config.d/lab.conf"), "PasswordAuthentication no\nKbdInteractiveAuthentication no\n");

  await mkdir(at("usr/lib/lab-host"));
  await copyFile(join(SOURCES, "prepare.sh"), at("usr/lib/lab-host/prepare"));
  await chmod(at("usr/lib/lab-host/prepare"), 0o755);
  await copyFile(join(SOURCES, "lab-host.service"), at("etc/systemd/system/lab-host.service"));
  await mkdir(at("etc/systemd/system/sysinit.target.wants"), { recursive: true });
  await symlink("../lab-host.service", at("etc/systemd/system/sysinit.target.wants/lab-host.service"));
  for (const unit of MASKED) await symlink("/dev/null", at(`etc/systemd/system/${unit}`));

  // A host shares the machine's kernel: the release's own kernel settings are the machine's business.
  await removeAll(at("usr/lib/sysctl.d"), (name) => name.endsWith(".conf"));
  // What makes a host itself is written per host; without these it would take over the machine's.
  await removeAll(at("etc/ssh"), (name) => name.startsWith("ssh_host_"));
  for (const file of ["etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf"]) {
    await rm(at(file), { force: true });
  }
  await removeAll(at("var/lib/apt/lists"), () => true);
  await removeAll(at("var/cache/apt"), () => true);
  await mkdir(at("var/cache/apt/archives/partial"), { recursive: true });
  await removeAll(at("var/log"), (name) => name.endsWith(".log"));
  // Tells systemd that caches of /etc and /var fit this /usr, so that the first boot is as short as any.
  await must(["touch", at("etc/.updated"), at("var/.updated")]);
}

async function removeAll(folder: string, which: (name: string) => boolean): Promise<void> {
  for (const name of await readdir(folder)) {
    if (which(name)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** Removes a folder, never crossing into another file system that may be mounted below it. */
export async function remove(path: string): Promise<void> {
  await must(["rm", "-rf", "--one-file-system", path]);
}
