import type { Problem } from "../components/spec.ts";

/** A problem as every report of this program shows it. */
export const describeProblem = ({ what, got, expected, remedy }: Problem): string =>
  `  ${what}\n    got:      ${got}\n    expected: ${expected}\n    remedy:   ${remedy}`;

/** A host, and what preflight.sh said on it: `ready`, and hashes of the machine's ids, or `-`. */
export interface Answer {
  readonly name: string;
  readonly address: string;
  readonly said: string;
}

const ids = ["machine-id", "product_uuid"] as const;
const renewal = {
  "machine-id":
    "give it an id of its own (rm -f /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot; a DHCP server may then give it another address)",
  product_uuid: "have its hypervisor give it a UUID of its own",
} as const;

/** The ids that a host has said; none where it says nothing of them, like a host that an earlier program has looked at. */
const idsOf = ({ said }: Answer): readonly (string | undefined)[] => /^ready (\S+) (\S+)$/m.exec(said)?.slice(1) ?? [];

/** Hosts that have the id of another one before them: the same machine twice, or a copy of its disk. */
export function sameMachines(answers: readonly Answer[]): (Problem & { readonly host: string })[] {
  return answers.flatMap((answer, i) =>
    ids.flatMap((id, n) => {
      const value = idsOf(answer)[n] ?? "-";
      const twin = answers.slice(0, i).find((other) => value !== "-" && idsOf(other)[n] === value);
      if (!twin) return [];
      const { name, address } = answer;
      return [
        {
          host: name,
          what: `${id} of ${name} (${address})`,
          got: `that of ${twin.name} (${twin.address})`,
          expected: "one of its own",
          remedy: `name each machine once in plainkube:hosts; where one is a copy, ${renewal[id]}`,
        },
      ];
    }),
  );
}
