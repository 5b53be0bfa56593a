import { isDeepStrictEqual } from "node:util";
import { clusterSchema } from "../schema.ts";
import type { Check } from "../spec.ts";
import type { System } from "../system.ts";

const everywhere = [
  "system",
  "clusterName",
  "hosts",
  "ssh",
  "versions",
  "binaries",
  "overrides",
  "certificates",
  "proof",
];

/** System → the settings that it follows; with any other it would build something else than was asked for. */
const followed: Readonly<Partial<Record<System, readonly string[]>>> = {
  minimal: [
    ...[...everywhere, "runtime"],
    ...["network.podCidr", "network.nodeCidrMaskSize", "network.serviceCidr", "network.mtu"],
  ],
  "api-only": [...everywhere, "apiServer", "users", "network.serviceCidr", "network.dnsDomain"],
};

type Tree = Readonly<Record<string, unknown>>;

const isTree = (value: unknown): value is Tree => typeof value === "object" && value !== null && !Array.isArray(value);

/** Refuses what has no meaning in the chosen system, but where it says what would be so anyway. */
export const checkMeaning: Check = (config, add, isSound) => {
  const known = followed[config.system];
  if (!known || !isSound("system")) return;
  const defaults: Tree = clusterSchema.parse({ hosts: [{ name: "any", address: "192.0.2.1", roles: ["worker"] }] });
  const look = (value: unknown, byDefault: unknown, path: string) => {
    if (known.includes(path) || isDeepStrictEqual(value, byDefault)) return;
    if (isTree(value) && isTree(byDefault)) {
      for (const [key, inner] of Object.entries(value))
        look(inner, byDefault[key], path === "" ? key : `${path}.${key}`);
      return;
    }
    add(
      `plainkube:${path} has no meaning in the system ${config.system}`,
      value,
      byDefault === undefined ? "nothing" : `nothing, or its default ${JSON.stringify(byDefault)}`,
      "remove it, or set plainkube:system to cluster (after pulumi destroy)",
    );
  };
  look(config, defaults, "");
};
