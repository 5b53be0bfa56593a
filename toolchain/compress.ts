import { createReadStream, createWriteStream, existsSync } from "node:fs";
import * as fs from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createGzip, createZstdCompress } from "node:zlib";
import { blobPath, type Log, type StoredFile, withLock, withScratch } from "./cache.ts";

/** How a content is compressed: `zst` for programs of this project, `gz` for what stock tools unpack. */
const formats = {
  // A higher level takes longer and gives little: 9 takes twice as long for a thirtieth.
  zst: () => createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 6 } }),
  gz: () => createGzip({ level: 9 }),
} as const;

/** Where the compressed form of a content lies, whether it is there or not. */
export const compressedPath = (sha256: string, format: keyof typeof formats): string => blobPath(`${sha256}.${format}`);

/** The file in the cache that holds the same content compressed; made when it is asked for first, and beside it. */
export async function compressed(
  { sha256, path }: StoredFile,
  format: keyof typeof formats,
  log: Log,
): Promise<string> {
  const at = compressedPath(sha256, format);
  const name = basename(at);
  if (existsSync(at)) return at;
  await withLock(`compress-${name}`, log, async () => {
    if (existsSync(at)) return;
    await withScratch(async (dir) => {
      const half = join(dir, name);
      await pipeline(
        createReadStream(path, { highWaterMark: 1 << 20 }),
        formats[format](),
        createWriteStream(half, { flush: true }),
      );
      await fs.rename(half, at);
    });
  });
  return at;
}
