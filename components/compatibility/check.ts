import { isDeepStrictEqual } from "node:util";
import { setting } from "../shown.ts";
import type { Check } from "../spec.ts";
import { nearest } from "../suggestion.ts";
import { atLeast, supportedVersions } from "../versions.ts";
import { namesIn, type Program, versionsWith } from "./table.ts";

/** A setting, or one value of it, that only newer Kubernetes versions can carry out. */
interface SettingNeed {
  /** Keys from the top of the configuration down. */
  readonly setting: readonly string[];
  /** The value that needs it; without one, any value does. */
  readonly value?: unknown;
  /** The first minor release that can. */
  readonly since: string;
}

/** Settings that not every supported Kubernetes version can carry out. */
export const settingNeeds: readonly SettingNeed[] = [
  { setting: ["runtime", "evictionHard", "containerfs.available"], since: "1.29" },
  { setting: ["runtime", "evictionHard", "containerfs.inodesFree"], since: "1.29" },
];

/** A key of `overrides` → the program that it is about. */
export const programOf = (key: string) => key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`) as Program;

/** Refuses flags, fields and settings that the chosen version does not have. */
export const checkCompatibility: Check = (config, add, isSound) => {
  const versions = supportedVersions[config.versions.kubernetes];
  if (!versions || !isSound("versions")) return;

  for (const [key, over] of Object.entries(config.overrides)) {
    const program = programOf(key);
    const version = program === "etcd" ? versions.etcd : versions.kubernetes;
    for (const [kind, values] of Object.entries(over) as ["flags" | "config", object][]) {
      for (const name of Object.keys(values).map((name) => (kind === "flags" ? `--${name}` : name))) {
        const having = versionsWith(program, name);
        if (having.includes(version)) continue;
        const near = nearest(name, namesIn(program, version, kind));
        const isOther = having.length > 0;
        add(
          `plainkube:overrides.${key}.${kind} has something that ${program} ${version} does not know`,
          name,
          `${kind === "flags" ? "a flag" : "a field of the configuration file"} of ${program} ${isOther ? having.join(" or ") : version}`,
          isOther ? "remove it, or set versions.kubernetes accordingly" : near ? `did you mean ${near}?` : "remove it",
        );
      }
    }
  }

  for (const { setting: path, value, since } of settingNeeds) {
    const got = path.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], config);
    if (got === undefined || (value !== undefined && !isDeepStrictEqual(got, value))) continue;
    if (atLeast(versions.kubernetes, since)) continue;
    add(
      `plainkube:${setting(path)} needs a newer Kubernetes`,
      `${JSON.stringify(got)} with ${versions.kubernetes}`,
      `Kubernetes ${since} or newer`,
      "change one of them",
    );
  }
};
