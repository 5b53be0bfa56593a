import { createHash, createPrivateKey } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { unpacked } from "../../components/host/pack.ts";
import { runOnHost } from "../../lab/instance.ts";
import { run } from "../../lab/shell.ts";
import type { TestCluster } from "./harness.ts";

/** Finds secrets wherever they turn up, in whatever form: by their bytes and their text, and by these encoded. */

/** A secret, and texts and bytes of which each gives it away. */
export interface Secret {
  readonly name: string;
  readonly forms: readonly Buffer[];
}

/** Where a secret was found: `node1:/etc/x`, `node1 journal`, `machine processes` … */
export interface Finding {
  readonly where: string;
  readonly secret: string;
}

/** Base64 of what holds these bytes anywhere: it depends on where they begin. What neighbours decide is left out. */
const base64Within = (bytes: Buffer): string[] =>
  [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });

/** A text as it is, in base64, and in the base64 of base64 (a kubeconfig in a shipment). */
const textForms = (text: string): string[] => {
  const once = base64Within(Buffer.from(text));
  return [text, ...once, ...once.flatMap((t) => base64Within(Buffer.from(t)))];
};

/** Bytes as they are, in hexadecimal, and in both alphabets of base64. */
function byteForms(bytes: Buffer): Buffer[] {
  const base64 = base64Within(bytes);
  const url = base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  const hex = bytes.toString("hex");
  // The search goes by lines: of raw bytes, the longest part without a line's end.
  const raw =
    bytes
      .toString("latin1")
      .split(/[\n\0]/)
      .sort((a, b) => b.length - a.length)[0] ?? "";
  const texts = [hex, hex.toUpperCase(), ...base64, ...url].map((text) => Buffer.from(text));
  return [...texts, ...(raw.length >= 8 ? [Buffer.from(raw, "latin1")] : [])];
}

/** A secret that is a text: a token, a passphrase. */
export const textSecret = (name: string, text: string): Secret => ({
  name,
  forms: textForms(text).map((form) => Buffer.from(form)),
});

/** A secret that is bytes and is written in base64: a key that encrypts. */
export const base64Secret = (name: string, text: string): Secret => ({
  name,
  forms: [...byteForms(Buffer.from(text, "base64")), ...textForms(text).map((form) => Buffer.from(form))],
});

/** The numbers of a private key that nobody else may know, as bytes. */
function privateParts(pem: string, der: Buffer): Buffer[] {
  if (pem.includes("BEGIN OPENSSH")) {
    // The second time that the type is named, the private half follows: a length and the public key, a length and the seed.
    const at = der.indexOf("ssh-ed25519", der.lastIndexOf("ssh-ed25519")) + "ssh-ed25519".length + 4 + 32 + 4;
    return [der.subarray(at, at + 32)];
  }
  const { d, p, q } = createPrivateKey(pem).export({ format: "jwk" });
  return [d, p, q].filter((part) => part !== undefined).map((part) => Buffer.from(part, "base64url").subarray(0, 48));
}

/** A private key: its secret numbers in every form, and the lines of its PEM that hold them. */
export function keySecret(name: string, pem: string): Secret {
  const lines = pem.split("\n").filter((line) => line !== "" && !line.startsWith("-----"));
  const der = Buffer.from(lines.join(""), "base64");
  const parts = privateParts(pem, der);
  let before = 0;
  const places = lines.map((line) => {
    const from = before;
    before += line.length;
    return { line, from, to: before };
  });
  const texts = parts.flatMap((part) => {
    const at = der.indexOf(part);
    if (at < 0) throw new Error(`${name}: its private part is not in its PEM`);
    const [from, to] = [Math.ceil((at * 8) / 6), Math.floor(((at + part.length) * 8) / 6)];
    return places
      .map((p) => p.line.slice(Math.max(0, from - p.from), Math.max(0, Math.min(p.to, to) - p.from)))
      .filter((text) => text.length >= 16);
  });
  if (texts.length === 0) throw new Error(`${name}: no line of its PEM holds enough of it`);
  return { name, forms: [...parts.flatMap(byteForms), ...texts.flatMap(textForms).map((form) => Buffer.from(form))] };
}

const pemKeys = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----/g;

/** Every private key and every encryption key of a decrypted state, each once, by the resource that made it. */
export function secretsOfState(exported: string): Secret[] {
  const { deployment } = JSON.parse(exported) as {
    deployment: { resources: { urn: string; type: string; outputs?: Record<string, unknown>; inputs?: object }[] };
  };
  const found = new Map<string, Secret>();
  for (const { urn, type, outputs = {}, inputs = {} } of deployment.resources) {
    const name = urn.split("::").at(-1) ?? urn;
    // A shipment with keys, as it travels: its last part, as the first is the same in all.
    const { plaintext = '""' } = ((inputs as { stdin?: unknown }).stdin ?? {}) as { plaintext?: string };
    const script = String(JSON.parse(plaintext));
    const [, packed] = /^packed=(\S+)$/m.exec(script) ?? [];
    if (packed !== undefined && /^secret 0/m.test(unpacked(script)))
      found.set(packed, textSecret(`${name}, packed`, packed.slice(-100, -4)));
    const text = JSON.stringify([outputs, inputs]).replaceAll("\\\\n", "\n").replaceAll("\\n", "\n");
    for (const [pem] of text.matchAll(pemKeys)) {
      const isOpenSsh = pem.includes("BEGIN OPENSSH");
      // The TLS provider gives every key in this form, too; only the one that hosts let in is of this type.
      if (isOpenSsh && !Buffer.from(pem.replace(/-----.*-----/g, ""), "base64").includes("ssh-ed25519")) continue;
      if (!found.has(pem)) found.set(pem, keySecret(isOpenSsh ? "SSH key" : name, pem));
    }
    if (type === "random:index/randomPassword:RandomPassword") {
      const password: unknown = JSON.parse((outputs.result as { plaintext?: string } | undefined)?.plaintext ?? '""');
      if (typeof password !== "string" || password === "") throw new Error(`${name} has no password in the state`);
      const key = base64Secret(name, createHash("sha256").update(password).digest("base64"));
      found.set(password, { name, forms: [...textSecret(name, password).forms, ...key.forms] });
    }
  }
  return [...found.values()];
}

/** Command lines and environments of every process of this machine, those on the lab's hosts included, as time goes by. */
export class ProcessWatch {
  readonly #seen = new Set<string>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.sample(), 100);
    this.#timer.unref();
  }

  /** Looks once. */
  sample(): void {
    for (const pid of readdirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      for (const file of ["cmdline", "environ"]) {
        try {
          const text = readFileSync(`/proc/${pid}/${file}`, "latin1");
          if (text !== "") this.#seen.add(text);
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          // It has ended, or is the machine's own and hides its environment. That those of hosts are seen is tested.
          if (!["ENOENT", "ESRCH", "EACCES"].includes(code ?? "")) throw error;
        }
      }
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Everything that was seen, a text a process. */
  get seen(): readonly string[] {
    return [...this.#seen];
  }
}

const patternFile = "/dev/shm/plainkube-looked-for";

/** Prints `WHERE NUL MATCH` lines in base64. `find` leaves out what is no file of anyone's, and what the search itself brings. */
const hostScript = (patterns: Buffer): string => `set -eu
export LC_ALL=C
p=${patternFile}
trap 'rm -f "$p"' EXIT
umask 077
base64 -d >"$p" <<'EOF'
${patterns.toString("base64").replace(/.{1,76}/g, "$&\n")}EOF
look() { grep -aoFf "$p" | sort -u | while IFS= read -r m; do printf '%s\\0%s\\n' "$1" "$m"; done; }
{
  find / \\( -path /proc -o -path /sys -o -path /opt/plainkube/store -o -path "$p" \\) -prune -o -type f -newer /etc/machine-id -print0 |
    xargs -0r grep -aosHZFf "$p" || :
  journalctl --no-pager --quiet --all --output=export | look journal || :
  systemctl show --no-pager '*' | look units || :
  { cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || :; } | tr '\\0' '\\n' | look processes || :
} | sort -u | base64 -w0
`;

function findingsIn(output: Buffer, names: ReadonlyMap<string, string>, prefix: (where: string) => string): Finding[] {
  const findings = new Map<string, Finding>();
  for (const line of output.toString("latin1").split("\n").filter(Boolean)) {
    const [where = "", match = ""] = line.split("\0");
    const secret = names.get(match);
    if (secret === undefined) throw new Error(`a match in ${where} belongs to no secret`);
    const finding = { where: prefix(where), secret };
    findings.set(`${finding.where} ${secret}`, finding);
  }
  return [...findings.values()];
}

/** What is searched on this machine beside the files of the hosts. */
export interface Around {
  /** Folders, without what is older than the instance. */
  readonly directories: readonly string[];
  /** Texts by what they are: what was printed, what processes were seen. */
  readonly texts: Readonly<Record<string, readonly string[]>>;
}

/** Looks for every secret on every host and on this machine. */
export async function search(cluster: TestCluster, secrets: readonly Secret[], around: Around): Promise<Finding[]> {
  const names = new Map<string, string>();
  for (const { name, forms } of secrets) for (const form of forms) names.set(form.toString("latin1"), name);
  const patterns = Buffer.from([...names.keys(), ""].join("\n"), "latin1");
  const onHosts = cluster.hosts.map(async (host) => {
    const result = await runOnHost(cluster.instance, host, "bash -s", { input: hostScript(patterns) });
    if (result.code !== 0) throw new Error(`the search on ${host} ended with ${result.code}: ${result.stderr}`);
    return findingsIn(Buffer.from(result.stdout, "base64"), names, (where) =>
      where.startsWith("/") ? `${host}:${where}` : `${host} ${where}`,
    );
  });
  const folder = await mkdtemp(join(cluster.instance.directory, "searched-"));
  for (const [what, texts] of Object.entries(around.texts))
    await writeFile(join(folder, what), texts.join("\n\n"), { encoding: "latin1", mode: 0o600 });
  const here = `set -eu; export LC_ALL=C; p=$(mktemp -p /dev/shm); trap 'rm -f "$p"' EXIT; base64 -d >"$p"; reference=$1; shift
    find "$@" -xdev -type f -newer "$reference" ! -path "$p" -size -100M -print0 | xargs -0r grep -aosHZFf "$p" | base64 -w0`;
  const found = await run(["bash", "-c", here, "search", cluster.instance.privateKeyFile, ...around.directories], {
    input: patterns.toString("base64"),
  });
  if (found.code !== 0) throw new Error(`the search on this machine ended with ${found.code}: ${found.stderr}`);
  await rm(folder, { recursive: true });
  const files = findingsIn(Buffer.from(found.stdout, "base64"), names, (where) =>
    where.startsWith(folder) ? `machine ${where.slice(folder.length + 1)}` : `machine:${where}`,
  );
  const unique = new Map([...(await Promise.all(onHosts)).flat(), ...files].map((f) => [JSON.stringify(f), f]));
  return [...unique.values()];
}
