import { rootShell, shellWord } from "../components/host/shipment.ts";
import { withSsh } from "../components/host/ssh.ts";
import { type CommandResult, lastLines, run } from "../lab/shell.ts";
import type { Placed, PlacedHost } from "./stored.ts";

/** A difference between a host and what the last `up` has put there. */
export interface Difference {
  readonly placed: Placed;
  /** `<subject>: <what>`, where the subject is a unit, `binary NAME` or `file PATH`. */
  readonly text: string;
}

/** What a look at a host has found. */
export type Finding =
  | { readonly kind: "compared"; readonly differences: readonly Difference[] }
  /** It was reset or replaced. */
  | { readonly kind: "unprepared" }
  /** Nothing is known of it. */
  | { readonly kind: "unreachable"; readonly reason: string };

const state = "/var/lib/plainkube/state";

/** Runs a script on a host as root, in a session of its own; the script goes by standard input. */
const onHost = ({ order, password }: PlacedHost, input: string, ...args: string[]): Promise<CommandResult> =>
  withSsh({ ...order, dialAttempts: 1 }, password, rootShell(...args), ({ program, args, env }) =>
    run([program, ...args], { input, env }),
  );

/** Compares a host with what the last `up` has put there; changes nothing on it. */
export async function compare(host: PlacedHost): Promise<Finding> {
  const blocks = host.placed.map(({ compare }, i) => `echo "# ${i}"\n${compare} </dev/null || exit\n`);
  const script = `if [ ! -d ${state} ]; then echo "# unprepared"; exit; fi\n${blocks.join("")}echo "# end"\n`;
  const { code, stdout, stderr } = await onHost(host, script, "drift", "compare");
  const lines = stdout.split("\n").filter(Boolean);
  if (lines.at(-1) === "# unprepared") return { kind: "unprepared" };
  if (code !== 0 || lines.at(-1) !== "# end") return { kind: "unreachable", reason: lastLines(stderr, 3) };
  const differences: Difference[] = [];
  let placed: Placed | undefined;
  for (const text of lines) {
    const [, number] = /^# (\d+)$/.exec(text) ?? [];
    if (number !== undefined) placed = host.placed[Number(number)];
    else if (placed && text !== "# end") differences.push({ placed, text });
  }
  return { kind: "compared", differences };
}

/**
 * Makes the next run of a host's shipments restart the units that differ, whose noted digests would tell that nothing has
 * changed; prepares a host that was reset, as the first `up` did. Throws with what the host said.
 */
export async function readyToMend(host: PlacedHost, finding: Finding): Promise<void> {
  if (finding.kind === "unreachable") return;
  const units =
    finding.kind === "compared"
      ? finding.differences.flatMap(({ text }) => text.match(/^\S+\.service(?=:)/) ?? [])
      : [];
  const notes = [...new Set(units)].map((unit) => shellWord(`${state}/unit.${unit}`));
  const { code, stderr } =
    finding.kind === "unprepared"
      ? await onHost(host, host.preflight, "preflight")
      : await onHost(host, `rm -f ${notes.join(" ")}\n`, "forget");
  if (code !== 0) throw new Error(`${host.name} cannot be mended:\n${lastLines(stderr, 20)}`);
}
