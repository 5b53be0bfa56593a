import type { HostFile } from "../host/shipment.ts";

/** What one concern of the API server brings to it: the flags that turn it on, and the files that they name. */
export interface ServerPart {
  readonly flags: Readonly<Record<string, string | number | boolean>>;
  readonly files: readonly HostFile[];
  /** Paths with keys that the flags name; they are shipped apart. */
  readonly secrets?: readonly string[];
}

/** A concern that is not used. */
export const nothing: ServerPart = { flags: {}, files: [] };

/** A list as one flag's value: upstream reads it as a line of CSV. */
export const list = (values: readonly string[]): string =>
  values.map((v) => (/[",]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v)).join(",");
