import { readFileSync } from "node:fs";
import { fill } from "./render.ts";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8").trimEnd();

/** What keeps a unit in its place that needs nothing of its host but files and connections. */
const confined = read("./confined.conf");
/** The same for a unit that sets up the host's network. */
const networkConfined = read("./network/confined.conf");

/** Fills the placeholders of a unit's template, `@CONFINED@` among them: for all that do not start containers. */
export const fillConfined = (template: string, values: Readonly<Record<string, string | number>> = {}): string =>
  fill(template, { ...values, CONFINED: confined });

/** The same for units that set up the host's network. */
export const fillNetworkConfined = (template: string, values: Readonly<Record<string, string | number>> = {}): string =>
  fill(template, { ...values, CONFINED: networkConfined });

/** Cipher suites of TLS 1.2 with forward secrecy and authenticated encryption; those of TLS 1.3 all are such. */
export const strongCiphers: readonly string[] = ["ECDSA", "RSA"].flatMap((key) =>
  ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"].map((c) => `TLS_ECDHE_${key}_WITH_${c}`),
);
