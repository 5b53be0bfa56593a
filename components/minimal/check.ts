import { isDeepStrictEqual } from "node:util";
import { clusterSchema } from "../schema.ts";
import type { Check } from "../spec.ts";

/** Settings that the system `minimal` follows; with any other it would build something else than was asked for. */
const followed: readonly string[] = [
  ...["system", "clusterName", "hosts", "ssh", "versions", "binaries", "runtime", "overrides", "certificates", "proof"],
  ...["network.podCidr", "network.nodeCidrMaskSize", "network.serviceCidr", "network.mtu"],
];

type Tree = Readonly<Record<string, unknown>>;

const isTree = (value: unknown): value is Tree => typeof value === "object" && value !== null && !Array.isArray(value);

/** Refuses what has no meaning in the system `minimal`, but where it says what would be so anyway. */
export const checkMinimal: Check = (config, add) => {
  if (config.system !== "minimal") return;
  const defaults: Tree = clusterSchema.parse({ hosts: [{ name: "any", address: "192.0.2.1", roles: ["worker"] }] });
  const look = (value: unknown, byDefault: unknown, path: string) => {
    if (followed.includes(path) || isDeepStrictEqual(value, byDefault)) return;
    if (isTree(value) && isTree(byDefault)) {
      for (const [key, inner] of Object.entries(value))
        look(inner, byDefault[key], path === "" ? key : `${path}.${key}`);
      return;
    }
    add(
      `plainkube:${path} has no meaning in the system minimal`,
      value,
      `nothing, or its default ${JSON.stringify(byDefault)}`,
      "remove it, or set plainkube:system to cluster",
    );
  };
  look(config, defaults, "");
};
