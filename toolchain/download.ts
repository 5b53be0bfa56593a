import { createWriteStream } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { hashFile, type Log, seconds } from "./cache.ts";

/** The content that is expected. */
export interface Checksum {
  readonly algorithm: "sha256" | "sha512";
  /** Hex, lower case. */
  readonly digest: string;
}

export interface Download {
  readonly url: string;
  /** All must hold; at least one. */
  readonly checksums: readonly Checksum[];
  /** Where the verified file goes. A `.part` file beside it keeps what came before an interruption, and is resumed. */
  readonly to: string;
  readonly log: Log;
}

const probeTimeout = 3_000;
const headersTimeout = 15_000;
const idleTimeout = 30_000;
const attempts = 3;
const progressEvery = 3_000;

const probes = new Map<string, Promise<string | undefined>>();

/**
 * Why this address cannot be used, or undefined if it answers. Asks once per server and run, for at most 3 s, so that a
 * closed network costs that much once. `PLAINKUBE_OFFLINE=1` answers without asking.
 */
export function whyUnreachable(url: string): Promise<string | undefined> {
  if (process.env.PLAINKUBE_OFFLINE === "1") return Promise.resolve("PLAINKUBE_OFFLINE=1 is set");
  const { origin } = new URL(url);
  let probe = probes.get(origin);
  if (probe === undefined) {
    probe = ask(url, origin);
    probes.set(origin, probe);
  }
  return probe;
}

async function ask(url: string, origin: string): Promise<string | undefined> {
  try {
    const answer = await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(probeTimeout) });
    return answer.ok ? undefined : `${origin} answers ${answer.status} for ${url}`;
  } catch (error) {
    return `${origin} does not answer: ${reason(error)}`;
  }
}

/** The innermost message of a failed fetch, which hides it in `cause`. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof Error) return error.cause.message || String((error.cause as NodeJS.ErrnoException).code);
  return error.message;
}

// What trying again cannot mend.
class Final extends Error {}

/**
 * Downloads one file and verifies it before it gets its name. Interrupted transfers are resumed, up to three attempts.
 * Throws on an unreachable or refusing server, a truncated transfer, a full disk and a wrong checksum; the wrong file is deleted.
 */
export async function download(what: Download): Promise<void> {
  if (what.checksums.length === 0)
    throw new Error(`${what.url}: no checksum is known; expected one before any download`);
  await fs.mkdir(dirname(what.to), { recursive: true });
  const part = `${what.to}.part`;
  for (let attempt = 1; ; attempt++) {
    try {
      await transfer(what, part);
      break;
    } catch (error) {
      if (error instanceof Final || attempt === attempts) throw error;
      what.log(`${(error as Error).message}; trying again`);
    }
  }
  for (const { algorithm, digest } of what.checksums) {
    const got = await hashFile(part, algorithm);
    if (got === digest.toLowerCase()) continue;
    await fs.rm(part, { force: true });
    throw new Error(
      `${what.url}: wrong checksum: got ${algorithm} ${got}, expected ${digest}; the file was deleted. ` +
        "Run again if the server was being updated; otherwise do not trust that server, and choose another binaries.source",
    );
  }
  await fs.rename(part, what.to);
}

async function transfer({ url, log }: Download, part: string): Promise<void> {
  const have = (await fs.stat(part).catch(() => undefined))?.size ?? 0;
  const stop = new AbortController();
  let timer = setTimeout(() => stop.abort(new Error(`no answer for ${seconds(headersTimeout)}`)), headersTimeout);
  const keepAlive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => stop.abort(new Error(`no data for ${seconds(idleTimeout)}`)), idleTimeout);
  };
  let received = have;
  let total = Number.NaN;
  try {
    const answer = await fetch(url, {
      signal: stop.signal,
      // Compressed on the way, the length would be that of something else than the file.
      headers: { "accept-encoding": "identity", ...(have > 0 ? { range: `bytes=${have}-` } : {}) },
    });
    // All of it is there already: an earlier run was cut off just before it verified.
    if (answer.status === 416) return await answer.body?.cancel();
    if (!answer.ok || answer.body === null) {
      throw new Final(
        `${url}: got HTTP ${answer.status} ${answer.statusText}, expected 200; ` +
          "check that the server has this version, or choose another binaries.source",
      );
    }
    const resumed = answer.status === 206;
    if (!resumed) received = 0;
    total = received + Number(answer.headers.get("content-length") ?? Number.NaN);
    const started = Date.now();
    let reported = started;
    const count = async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        keepAlive();
        received += chunk.length;
        if (Date.now() - reported >= progressEvery) {
          reported = Date.now();
          log(`downloading ${url}: ${mib(received)} of ${mib(total)} … ${seconds(reported - started)}`);
        }
        yield chunk;
      }
    };
    await pipeline(Readable.fromWeb(answer.body), count, createWriteStream(part, { flags: resumed ? "a" : "w" }));
  } catch (error) {
    if (error instanceof Final) throw error;
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") {
      throw new Final(
        `${url}: the disk is full after ${mib(received)}: free some space, or set PLAINKUBE_CACHE to another disk`,
      );
    }
    const why = reason(stop.signal.aborted ? stop.signal.reason : error);
    throw new Error(
      received > 0
        ? `${url}: transfer broke off (${why}): got ${received} bytes, expected ${Number.isNaN(total) ? "more" : total}; run again to resume`
        : `${url}: cannot be reached (${why}); check the network and proxy, or choose another binaries.source`,
    );
  } finally {
    clearTimeout(timer);
  }
  if (!Number.isNaN(total) && received !== total) {
    throw new Error(`${url}: transfer broke off: got ${received} bytes, expected ${total}; run again to resume`);
  }
}

const mib = (bytes: number) => (Number.isNaN(bytes) ? "?" : `${(bytes / 2 ** 20).toFixed(0)} MiB`);
