import { readFileSync } from "node:fs";

/** Programs whose flags and fields the table knows. */
export type Program =
  | "etcd"
  | "kube-apiserver"
  | "kube-controller-manager"
  | "kube-scheduler"
  | "kubelet"
  | "kube-proxy";

/** Of one program: its versions, and each `--flag` or field of its configuration file with the versions that have it. */
interface Known {
  readonly versions: readonly string[];
  readonly names: ReadonlyMap<string, readonly string[]>;
}

/** Program → what known.txt says of it (made by `npm run flags`). */
const table: ReadonlyMap<string, Known> = new Map(
  readFileSync(new URL("./known.txt", import.meta.url), "utf8")
    .split("\n\n")
    .slice(1)
    .map((section): [string, Known] => {
      const [head = "", ...lines] = section.trimEnd().split("\n");
      const [, program = "", ...versions] = head.split(" ");
      const names = lines.map((line): [string, string[]] => {
        const [, name = "", ...some] = line.split(" ");
        return [name, some.length > 0 ? some : versions];
      });
      return [program, { versions, names: new Map(names) }];
    }),
);

function known(program: Program): Known {
  const found = table.get(program);
  if (!found) throw new Error(`known.txt has no ${program}; run \`npm run flags\``);
  return found;
}

/** The versions of a program that the table knows. */
export const knownVersions = (program: Program): readonly string[] => known(program).versions;

/** The versions of a program that have a `--flag` or a top-level field of its configuration file. */
export const versionsWith = (program: Program, name: string): readonly string[] => known(program).names.get(name) ?? [];

/** Flags (`--`) or fields that a version of a program has. */
export const namesIn = (program: Program, version: string, kind: "flags" | "config"): string[] =>
  [...known(program).names]
    .filter(([name, versions]) => name.startsWith("--") === (kind === "flags") && versions.includes(version))
    .map(([name]) => name);
