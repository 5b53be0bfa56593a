import { shellWord } from "../components/host/shipment.ts";
import { configured, type LabStack } from "./stack.ts";

/** What a shell sources to have kubectl and pulumi for a stack of the lab; `bin` is the folder with kubectl. */
export function environmentFile(
  stack: Pick<LabStack, "environment" | "file">,
  kubeconfig: string,
  bin: string,
): string {
  const { TMPDIR: temporary = "", ...environment } = stack.environment;
  const variables = { ...environment, KUBECONFIG: kubeconfig };
  const lines = Object.entries(variables).map(([key, value]) =>
    key === "PATH" ? "" : `export ${key}=${shellWord(value)}`,
  );
  // What stands before the PATH of this run is ours; the rest is whatever it is by then.
  const { PATH: whole = "" } = stack.environment;
  const ours = whole
    .slice(0, whole.length - (process.env.PATH ?? "").length)
    .split(":")
    .filter(Boolean);
  return [
    "# Made by `npm run lab`: kubectl and pulumi for the lab's stack. Source it from bash or zsh.",
    ...lines.filter(Boolean),
    // So that this project's own commands do not take this stack's for another's, see run.sh. GOGC tells of no stack.
    `export PLAINKUBE_SOURCED=${shellWord(
      Object.keys(variables)
        .filter((name) => name !== "PATH" && name !== "GOGC")
        .join(" "),
    )}`,
    `export PATH=${shellWord([bin, ...ours].join(":"))}:"$PATH"`,
    `pulumi() { local TMPDIR=${shellWord(temporary)}; export TMPDIR`,
    `  case $1 in ${configured.join("|")}) command pulumi "$@" --config-file ${shellWord(stack.file)} ;; *) command pulumi "$@" ;; esac; }`,
    "",
  ].join("\n");
}
