import { access, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { installPackages } from "../toolchain/apt.ts";
import { which } from "../toolchain/run.ts";

/** What the lab runs on this machine: program → Debian package that has it. */
const PROGRAMS: Readonly<Record<string, string>> = {
  debootstrap: "debootstrap",
  "systemd-nspawn": "systemd-container",
  ssh: "openssh-client",
  "ssh-keygen": "openssh-client",
  ip: "iproute2",
  nsenter: "util-linux",
  unshare: "util-linux",
};

/** Makes sure of root and of the programs that the lab needs, by apt-get where one is missing. */
export async function prepareMachine(log: (line: string) => void): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new Error(
      `the lab makes namespaces and mounts: it must run as root, got user id ${process.getuid?.()}. Use sudo or a root shell`,
    );
  }
  const missing = Object.entries(PROGRAMS).filter(([program]) => !which(program, ["/usr/sbin", "/sbin"]));
  await installPackages(
    missing.map(([, name]) => name),
    "the lab",
    log,
  );
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Where the machine's own Debian-like release comes from. */
export interface AptSource {
  readonly mirror: string;
  /** Code name, as in apt's sources. */
  readonly suite: string;
  readonly components: readonly string[];
  /** The key ring that signs it; undefined means debootstrap's own choice for the suite. */
  readonly keyring: string | undefined;
}

/** Finds the machine's release in its apt sources. Throws when none of them has it. */
export async function readAptSource(root = "/etc"): Promise<AptSource> {
  const osRelease = await readFile(join(root, "os-release"), "utf8");
  const suite = /^VERSION_CODENAME="?([^"\n]+)/m.exec(osRelease)?.[1];
  if (!suite) {
    throw new Error(
      `${root}/os-release has no VERSION_CODENAME; expected a Debian-like system, as the lab's hosts copy its release`,
    );
  }
  const parts = join(root, "apt/sources.list.d");
  const files = [join(root, "apt/sources.list")];
  if (await exists(parts)) files.push(...(await readdir(parts)).sort().map((name) => join(parts, name)));
  for (const file of files) {
    if (!(await exists(file))) continue;
    const text = await readFile(file, "utf8");
    const entries = file.endsWith(".sources") ? parseDeb822(text) : file.endsWith(".list") ? parseOneLine(text) : [];
    const entry = entries.find((e) => e.suites.includes(suite) && e.components.includes("main"));
    if (entry) return { mirror: entry.uri, suite, components: entry.components, keyring: entry.keyring };
  }
  throw new Error(
    `no apt source of this machine offers suite ${suite}, component main (looked in ${files.join(", ")}); ` +
      "add the distribution's own, then try again",
  );
}

interface Entry {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly keyring: string | undefined;
}

export function parseOneLine(text: string): Entry[] {
  const entries: Entry[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]+)/.exec(line);
    if (!match) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const keyring = /(?:^|\s)signed-by=(\/[^\s,]+)/i.exec(options)?.[1];
    entries.push({ uri, suites: [suite], components: words(components), keyring });
  }
  return entries;
}

export function parseDeb822(text: string): Entry[] {
  const entries: Entry[] = [];
  for (const stanza of text.split(/\n\s*\n/)) {
    const fields = new Map<string, string>();
    let last = "";
    for (const line of stanza.split("\n")) {
      if (line.startsWith("#")) continue;
      const field = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line);
      if (field) {
        last = (field[1] ?? "").toLowerCase();
        fields.set(last, field[2] ?? "");
      } else if (/^\s/.test(line) && last) fields.set(last, `${fields.get(last)} ${line.trim()}`);
    }
    const uri = words(fields.get("uris"))[0];
    if (!uri || !words(fields.get("types")).includes("deb") || fields.get("enabled")?.trim() === "no") continue;
    entries.push({
      uri,
      suites: words(fields.get("suites")),
      components: words(fields.get("components")),
      keyring: words(fields.get("signed-by")).find((w) => w.startsWith("/")),
    });
  }
  return entries;
}

function words(text: string | undefined): string[] {
  return (text ?? "").split(/\s+/).filter(Boolean);
}
