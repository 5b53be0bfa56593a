import { homedir } from "node:os";
import { resolve } from "node:path";

/** A path of the configuration: relative to the project, or with ~/. */
export const expandPath = (path: string, base: string): string =>
  path.startsWith("~/") ? resolve(homedir(), path.slice(2)) : resolve(base, path);
