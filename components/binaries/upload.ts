import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { createInterface } from "node:readline";
import { hashFile, type StoredFile, withLock } from "../../toolchain/cache.ts";
import { compressedPath } from "../../toolchain/compress.ts";
import { hostKeyProblem } from "../host/host-key.ts";
import { type SshCommand, type SshTarget, withSsh } from "../host/ssh.ts";
import type { Layout } from "../paths.ts";
import { visible } from "../shown.ts";
import { readyToSend } from "./obtain.ts";
import type { BinarySettings, Pin } from "./pins.ts";
import { linkOf } from "./stages.ts";

/** How to reach the host that gets binaries, and where it has them. */
export interface UploadOrder extends SshTarget {
  readonly layout: Layout;
}

const log = (line: string): void => console.error(line);

/** Sends binaries to a host and returns how many of them it lacked. A damaged file of the cache is made anew, once. */
export async function upload(
  order: UploadOrder,
  pins: readonly Pin[],
  settings: BinarySettings,
  password: string,
): Promise<number> {
  const sent = await send(order, pins, settings, password);
  if (typeof sent === "number") return sent;
  const { name, path, sha256, compressed, inode } = sent.damaged;
  // Another upload may have found out the same, and made it anew by now.
  await withLock(`compress-${basename(compressed)}`, log, async () => {
    if ((await inodeOf(compressed)) === inode) await rm(compressed, { force: true });
    const got = await hashFile(path).catch(() => undefined);
    if (got === sha256) log(`${name}: ${compressed} was damaged, or what was sent was on its way; made anew`);
    else if (got !== undefined) {
      await rm(path, { force: true });
      log(`${name}: ${path} was damaged: got SHA-256 ${got}, expected ${sha256}; removed, and obtained anew`);
    }
  });
  const again = await send(order, pins, settings, password, true);
  if (typeof again === "number") return again;
  const { host, port, user } = order.endpoint;
  throw new Error(
    `${name} arrived on ${user}@${host}:${port} with another content than ${path} has (SHA-256 ${sha256}); it was not kept. Look at the network and the disk of that host, then run 'pulumi up' again.`,
  );
}

interface Damaged {
  readonly damaged: StoredFile & {
    readonly name: string;
    readonly compressed: string;
    readonly inode: bigint | undefined;
  };
}

/** Which file it is, and since when. */
const inodeOf = async (path: string): Promise<bigint | undefined> => {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found && found.ino ^ found.mtimeNs;
};

/** One session. Returns how many binaries the host lacked, or the one that did not arrive as it should be. */
async function send(
  { layout, ...target }: UploadOrder,
  pins: readonly Pin[],
  settings: BinarySettings,
  password: string,
  isLast = false,
): Promise<number | Damaged> {
  const { files, receiver } = await readyToSend(pins, settings, log);
  const entries = pins.map((pin) => {
    const file = files.get(pin.name);
    if (!file) throw new Error(`no file was obtained for ${pin.name} ${pin.version}`);
    return { ...file, name: pin.name, link: linkOf(pin.name, layout), compressed: compressedPath(file.sha256, "zst") };
  });
  const offered = await Promise.all(
    [...entries, { ...receiver, name: "plainkube-receive" }].map(async (file) => ({
      ...file,
      inode: await inodeOf(file.compressed),
    })),
  );
  const script = [
    `now=${Math.floor(Date.now() / 1000)}`,
    `opt=${layout.opt}`,
    `store=${layout.store}`,
    `receiver_size=${statSync(receiver.compressed).size}`,
    `receiver_sha=${receiver.sha256}`,
    `entries='${entries.map((e) => `${e.sha256} ${e.size} ${e.link}`).join("\n")}'`,
    readFileSync(new URL("./receive.sh", import.meta.url), "utf8"),
  ].join("\n");
  const use = async ({ program, args, env }: SshCommand): Promise<number | Damaged> => {
    // The names go to xargs, and the contents from cat to ssh without a way through this program.
    const cat = spawn("xargs", ["cat"], {
      stdio: ["pipe", "pipe", "pipe"],
      cwd: dirname(receiver.compressed),
      env: { ...process.env, LC_ALL: "C" },
    });
    const read = once(cat, "close");
    const unreadable: string[] = [];
    createInterface({ input: cat.stderr }).on("line", (line) => {
      // That ssh has ended is told by what ssh says, and what xargs says of cat is no more.
      if (line.startsWith("cat:") && !/write error|Broken pipe/i.test(line)) unreadable.push(line);
    });
    const ssh = spawn(program, args, { stdio: [cat.stdout, "pipe", "pipe"], env });
    // ssh has it now; open here, too, it would keep cat from seeing ssh's end.
    cat.stdout.destroy();
    cat.stdin.on("error", ignoreClosedPipe);
    // What is said before the host's first line may be about its key, and is told better below.
    let early: string[] | undefined = [];
    const tell = () => {
      for (const line of early ?? []) console.error(line);
      early = undefined;
    };
    createInterface({ input: ssh.stderr }).on("line", (line) => (early ? early.push(line) : console.error(line)));
    const closed = once(ssh, "close");
    const needed = new Set<string>();
    let sent = false;
    let damaged: string | undefined;
    let foreign: string | undefined;
    for await (const line of createInterface({ input: ssh.stdout })) {
      tell();
      if (line.startsWith("need ")) {
        const sha256 = line.slice(5);
        if (entries.some((entry) => entry.sha256 === sha256)) needed.add(sha256);
        else {
          foreign = sha256;
          ssh.kill();
        }
      }
      if (line.startsWith("damaged ")) damaged = line.slice(8);
      if (line === "send" && foreign === undefined) {
        sent = true;
        const contents = [...needed].map((sha256) => compressedPath(sha256, "zst"));
        const paths = contents.length > 0 ? [receiver.compressed, ...contents] : [];
        cat.stdin.end(paths.map((path) => `${basename(path)}\n`).join(""));
      }
    }
    cat.stdin.end();
    await read;
    const [code] = (await closed) as [number | null];
    const changed = code === 255 && early ? hostKeyProblem(target, early.join("\n")) : undefined;
    if (changed) throw new Error(changed);
    tell();
    const { host, port, user } = target.endpoint;
    if (foreign !== undefined) {
      throw new Error(
        `${user}@${host}:${port} asked for ${visible(foreign)}, which is none of its binaries; nothing was sent. Look who answers there.`,
      );
    }
    const isLost = code === 255 || code === null;
    const broken = isLost ? undefined : offered.find(({ sha256 }) => sha256 === damaged);
    // What could not be read may be what another upload is just making anew.
    if (broken && !(isLast && unreadable.length > 0)) return { damaged: broken };
    if (code !== 0 && !isLost && unreadable.length > 0) {
      throw new Error(
        `binaries could not be read on this machine: ${unreadable.join("; ")}. Correct the cause and run 'pulumi up' again.`,
      );
    }
    if (code !== 0 || !sent) {
      throw new Error(
        isLost
          ? `sending binaries to ${user}@${host}:${port} failed: no SSH connection could be made, or it was lost (ssh ended with ${code}, and says above what it knows). See that the host is on and answers SSH, then run 'pulumi up' again: what has arrived is kept.`
          : `sending binaries to ${user}@${host}:${port} failed (ssh ended with ${code}); its message stands above. Correct the cause and run 'pulumi up' again: what has arrived is kept.`,
      );
    }
    return needed.size;
  };
  return withSsh(target, password, script, use, { isPublic: true });
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (!["EPIPE", "ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED"].includes(error.code ?? ""))
    throw error;
}

if (import.meta.main) {
  const env = (name: string): string => {
    const value = process.env[name];
    if (value === undefined)
      throw new Error(`${name} is not set: upload.ts is run by the resources of components/binaries/binaries.ts`);
    return value;
  };
  const pins = env("PLAINKUBE_PINS")
    .split("\n")
    .map((line): Pin => {
      const [name = "", version = "", arch = "", digest = ""] = line.split(" ");
      return { name, version, arch: arch as Pin["arch"], digest };
    });
  try {
    const password = readFileSync(0, "utf8").trimEnd();
    const settings: BinarySettings = JSON.parse(env("PLAINKUBE_BINARIES"));
    const count = await upload(JSON.parse(env("PLAINKUBE_UPLOAD")), pins, settings, password);
    console.log(`${pins.length} in place, ${count} sent`);
  } catch (error) {
    console.error(`plainkube: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
