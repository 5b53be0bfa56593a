import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { yaml } from "../components/render.ts";
import type { Encoding, StoredFacts, StoredView } from "./answers.ts";
import { isSecret, isSecretKey, maskSecrets } from "./mask.ts";

/** What etcd holds under a key. */
export interface StoredValue extends StoredFacts {
  readonly value: Buffer;
}

/** Turns a value in protobuf into the object, or throws. */
export type Decoder = (value: Buffer) => Promise<unknown>;

const encryption = /^k8s:enc:([^:]+):([^:]+):([^:]+):/;

export function encodingOf(value: Buffer): Encoding {
  const start = value.toString("latin1", 0, 8);
  if (start.startsWith("k8s\0")) return "protobuf";
  if (start === "k8s:enc:") return "encrypted";
  return start.startsWith("{") ? "json" : "other";
}

/** A stored value, decoded; `showSecrets` leaves the values of Secrets in it. */
export async function viewOf(stored: StoredValue, decode: Decoder, showSecrets: boolean): Promise<StoredView> {
  const { value, ...about } = stored;
  const encoding = encodingOf(value);
  const { object, note } = await decoded(value, encoding, decode);
  const { apiVersion, kind } = (object ?? {}) as { apiVersion?: unknown; kind?: unknown };
  const mayHoldSecret = encoding !== "encrypted" && (isSecretKey(stored.key) || isSecret(object));
  const isMasked = mayHoldSecret && !showSecrets;
  return {
    ...about,
    encoding,
    size: value.length,
    apiVersion: typeof apiVersion === "string" ? apiVersion : undefined,
    kind: typeof kind === "string" ? kind : undefined,
    yaml: object === undefined ? undefined : yaml(isMasked ? maskSecrets(object) : object),
    note,
    isMasked,
  };
}

async function decoded(
  value: Buffer,
  encoding: Encoding,
  decode: Decoder,
): Promise<{ readonly object?: unknown; readonly note?: string }> {
  switch (encoding) {
    case "protobuf":
      return decode(value).then(
        (object) => ({ object }),
        (error: Error) => ({ note: `Not decoded: ${error.message}` }),
      );
    case "json":
      try {
        return { object: JSON.parse(value.toString("utf8")) };
      } catch (error) {
        return { note: `Begins like JSON, and is none: ${(error as Error).message}` };
      }
    case "encrypted": {
      const [, provider = "unknown", version = "", name = ""] = encryption.exec(value.toString("latin1", 0, 300)) ?? [];
      return { note: `Encrypted at rest by ${provider} ${version}, key ${name}: only the API server can read it.` };
    }
    case "other":
      return { note: value.length === 0 ? "The value is empty." : "Neither protobuf, JSON nor encrypted." };
  }
}

/** Decodes with the program that toolchain/etcd-decode builds: one short run for each value. */
export function programDecoder(program: () => Promise<string>): Decoder {
  return async (value) => {
    const child = spawn(await program(), { stdio: "pipe", timeout: 10_000 });
    const closed = once(child, "close");
    // A decoder that refuses a value need not read all of it.
    child.stdin.on("error", () => undefined);
    child.stdin.end(value);
    const [out, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
    if (code !== 0) throw new Error(errors.trim() || `the decoder ended with ${code}, expected 0`);
    return JSON.parse(out);
  };
}

/** Bytes as `hexdump -C` shows them, 16 a line, each line with its offset. */
export function hexDump(bytes: Buffer, offset: number): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    const hex = [...row].map((byte, i) => `${i === 8 ? " " : ""}${byte.toString(16).padStart(2, "0")}`).join(" ");
    const shown = row.toString("latin1").replace(/[^ -~]/g, ".");
    lines.push(`${(offset + at).toString(16).padStart(8, "0")}  ${hex.padEnd(48)}  |${shown}|`);
  }
  return lines.join("\n");
}
