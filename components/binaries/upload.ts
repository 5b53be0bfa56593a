import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { blobPath, hashFile } from "../../toolchain/cache.ts";
import { hostKeyProblem } from "../host/host-key.ts";
import { type SshTarget, withSsh } from "../host/ssh.ts";
import type { Layout } from "../paths.ts";
import { obtain } from "./obtain.ts";
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
  const { name, path, sha256 } = sent.damaged;
  const got = await hashFile(path);
  if (got !== sha256) {
    await rm(path, { force: true });
    log(`${name}: ${path} was damaged: got SHA-256 ${got}, expected ${sha256}; removed, and obtained anew`);
    const again = await send(order, pins, settings, password);
    if (typeof again === "number") return again;
  }
  const { host, port, user } = order.endpoint;
  throw new Error(
    `${name} arrived on ${user}@${host}:${port} with another content than ${path} has (SHA-256 ${sha256}); it was not kept. Look at the network and the disk of that host, then run 'pulumi up' again.`,
  );
}

interface Damaged {
  readonly damaged: { readonly name: string; readonly path: string; readonly sha256: string };
}

/** One session. Returns how many binaries the host lacked, or the one that did not arrive as it should be. */
async function send(
  { layout, ...target }: UploadOrder,
  pins: readonly Pin[],
  settings: BinarySettings,
  password: string,
): Promise<number | Damaged> {
  const files = await obtain(pins, settings, log);
  const entries = pins.map((pin) => {
    const file = files.get(pin.name);
    if (!file) throw new Error(`no file was obtained for ${pin.name} ${pin.version}`);
    return { ...file, name: pin.name, link: linkOf(pin.name, layout) };
  });
  const script = [
    `now=${Math.floor(Date.now() / 1000)}`,
    `opt=${layout.opt}`,
    `store=${layout.store}`,
    `entries='${entries.map((e) => `${e.sha256} ${e.size} ${e.link}`).join("\n")}'`,
    readFileSync(new URL("./receive.sh", import.meta.url), "utf8"),
  ].join("\n");
  return withSsh(target, password, script, async ({ program, args, env }) => {
    // The names go to tar, and the contents from it to ssh without a way through this program.
    const tar = spawn(
      "tar",
      ["-cf", "-", "--format=ustar", ...ownedByRoot, "-C", dirname(blobPath("any")), "-T", "-"],
      {
        stdio: ["pipe", "pipe", "pipe"],
        // No files beside the files, as tar on macOS makes them for attributes.
        env: { ...process.env, COPYFILE_DISABLE: "1" },
      },
    );
    const packed = once(tar, "close");
    const unreadable: string[] = [];
    createInterface({ input: tar.stderr }).on("line", (line) => {
      // That ssh has ended is told by what ssh says.
      if (!/Cannot write|Write error|Broken pipe|not recoverable/.test(line)) unreadable.push(line);
    });
    const ssh = spawn(program, args, { stdio: [tar.stdout, "pipe", "pipe"], env });
    // ssh has it now; open here, too, it would keep tar from seeing ssh's end.
    tar.stdout.destroy();
    tar.stdin.on("error", ignoreClosedPipe);
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
    for await (const line of createInterface({ input: ssh.stdout })) {
      tell();
      if (line.startsWith("need ")) needed.add(line.slice(5));
      else if (line.startsWith("damaged ")) damaged = line.slice(8);
      else if (line === "send") {
        sent = true;
        tar.stdin.end([...needed].map((sha256) => `${sha256}\n`).join(""));
      }
    }
    tar.stdin.end();
    await packed;
    const [code] = (await closed) as [number | null];
    const changed = code === 255 && early ? hostKeyProblem(target, early.join("\n")) : undefined;
    if (changed) throw new Error(changed);
    tell();
    const broken = entries.find(({ sha256 }) => sha256 === damaged);
    if (broken) return { damaged: broken };
    if (code !== 0 && unreadable.length > 0) {
      throw new Error(
        `binaries could not be read on this machine: ${unreadable.join("; ")}. Correct the cause and run 'pulumi up' again.`,
      );
    }
    if (code !== 0 || !sent) {
      const { host, port, user } = target.endpoint;
      throw new Error(
        code === 255
          ? `sending binaries to ${user}@${host}:${port} failed: no SSH connection could be made, or it was lost (ssh ended with 255, and says above what it knows). See that the host is on and answers SSH, then run 'pulumi up' again: what has arrived is kept.`
          : `sending binaries to ${user}@${host}:${port} failed (ssh ended with ${code}); its message stands above. Correct the cause and run 'pulumi up' again: what has arrived is kept.`,
      );
    }
    return needed.size;
  });
}

/** A uid of this machine may be larger than the format can hold. */
const ownedByRoot =
  process.platform === "linux" ? ["--owner=0", "--group=0", "--numeric-owner"] : ["--uid", "0", "--gid", "0"];

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
