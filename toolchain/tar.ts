import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** One member of a tar archive. Paths are relative, without a leading slash. */
export type TarEntry = { readonly path: string; readonly mode: number } & (
  | { readonly type: "dir" }
  | { readonly type: "symlink"; readonly target: string }
  | { readonly type: "file"; readonly size: number; readonly content: Buffer | { readonly file: string } }
);

const block = 512;

/**
 * Writes a ustar archive whose bytes depend on the entries alone: sorted by path, owned by root, dated 1970.
 * Throws on a path that the format cannot hold.
 */
export async function writeTar(entries: readonly TarEntry[], to: string): Promise<void> {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  await pipeline(Readable.from(chunks(sorted)), createWriteStream(to));
}

async function* chunks(entries: readonly TarEntry[]): AsyncGenerator<Buffer> {
  for (const entry of entries) {
    yield header(entry);
    if (entry.type !== "file") continue;
    let written = 0;
    if (Buffer.isBuffer(entry.content)) {
      yield entry.content;
      written = entry.content.length;
    } else {
      for await (const chunk of createReadStream(entry.content.file, { highWaterMark: 1 << 20 })) {
        written += chunk.length;
        yield chunk;
      }
    }
    if (written !== entry.size) {
      throw new Error(
        `${entry.path}: changed while it was packed: got ${written} bytes, expected ${entry.size}; run again`,
      );
    }
    yield Buffer.alloc((block - (written % block)) % block);
  }
  yield Buffer.alloc(2 * block);
}

function header(entry: TarEntry): Buffer {
  const path = entry.type === "dir" ? `${entry.path.replace(/\/$/, "")}/` : entry.path;
  const [prefix, name] = split(path);
  const target = entry.type === "symlink" ? entry.target : "";
  if (Buffer.byteLength(target) > 100) throw new Error(`${path}: link target longer than 100 bytes; shorten ${target}`);
  const bytes = Buffer.alloc(block);
  const octal = (value: number, offset: number, length: number) =>
    bytes.write(`${value.toString(8).padStart(length - 1, "0")}\0`, offset, "latin1");
  bytes.write(name, 0);
  octal(entry.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(entry.type === "file" ? entry.size : 0, 124, 12);
  octal(0, 136, 12);
  bytes.fill(" ", 148, 156);
  bytes.write({ file: "0", symlink: "2", dir: "5" }[entry.type], 156);
  bytes.write(target, 157);
  bytes.write("ustar\x0000", 257, "latin1");
  bytes.write(prefix, 345);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return bytes;
}

// ustar keeps 100 bytes of name and 155 of leading folders.
function split(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ["", path];
  for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (name !== "" && Buffer.byteLength(name) <= 100 && Buffer.byteLength(prefix) <= 155) return [prefix, name];
  }
  throw new Error(`${path}: too long for a tar archive; expected at most 100 bytes of name behind 155 of folders`);
}
