import { readFileSync } from "node:fs";
import { linkOf } from "../components/binaries/stages.ts";
import type { UploadOrder } from "../components/binaries/upload.ts";
import { unpacked } from "../components/host/pack.ts";
import { shellWord } from "../components/host/shipment.ts";

/** One thing that the last `up` has put on a host, as the stack's state holds it. */
export interface Placed {
  /** The phase of a shipment, or `binaries` and its stage. */
  readonly name: string;
  /** What `pulumi up --replace` has to name, so that it is put there again. */
  readonly urn: string;
  /** Shell script that prints the differences and changes nothing; ends with code 0. */
  readonly compare: string;
}

/** A host, as the last `up` has left it. */
export interface PlacedHost {
  readonly name: string;
  readonly order: UploadOrder;
  /** Passphrase of the private key; empty without one. */
  readonly password: string;
  readonly isControlPlane: boolean;
  /** The script that has prepared the host; it holds no secret. */
  readonly preflight: string;
  /** What else `pulumi up --replace` has to name for a host that was reset. */
  readonly claims: readonly string[];
  readonly placed: readonly Placed[];
}

interface StoredResource {
  readonly urn: string;
  readonly type: string;
  readonly parent?: string;
  readonly deletedWith?: string;
  readonly delete?: boolean;
  readonly inputs?: Readonly<Record<string, unknown>>;
}

const compareScript = readFileSync(new URL("./compare.sh", import.meta.url), "utf8");

/** A text of the state; a secret stands there as an object. */
function text(value: unknown): string {
  if (typeof value === "string") return value;
  const { plaintext } = (value ?? {}) as { plaintext?: string };
  return plaintext === undefined ? "" : JSON.parse(plaintext);
}

const nameOf = (urn: string): string => urn.split("::").at(-1) ?? "";

/**
 * What `pulumi stack export --show-secrets` says about hosts. A shipment's script holds its files and units, so what it said
 * to `apply.sh` is read again, by `compare.sh`.
 */
export function placedHosts(exported: string): PlacedHost[] {
  const { deployment } = JSON.parse(exported) as { deployment: { resources?: readonly StoredResource[] } };
  const resources = (deployment.resources ?? []).filter((resource) => !resource.delete);
  const ofHosts = resources.filter(({ urn }) => urn.includes("plainkube:host:Host$command:remote:Command::"));
  const roots = ofHosts.filter(({ deletedWith }) => !deletedWith);
  const inOrder = roots.toSorted((a, b) => (a.urn < b.urn ? -1 : 1));
  return inOrder.flatMap((root) => {
    const own = resources.filter(({ deletedWith }) => deletedWith === root.urn);
    const uploads = own.filter(({ type }) => type === "command:local:Command");
    const shipments = own.filter(({ urn }) => urn.includes("plainkube:host:Shipment$command:remote:Command::"));
    const environment = uploads[0]?.inputs?.environment as Record<string, unknown> | undefined;
    // An `up` that ended before anything was sent.
    if (!environment) return [];
    const order = JSON.parse(text(environment.PLAINKUBE_UPLOAD)) as UploadOrder;
    const phases = shipments.map((shipment) => phaseOf(shipment, resources));
    return [
      {
        name: nameOf(root.urn).replace(/-root-[0-9.]+$/, ""),
        order,
        password: text(uploads[0]?.inputs?.stdin).trimEnd(),
        isControlPlane: phases.some(({ name }) => name === "control-plane"),
        preflight: text(root.inputs?.stdin),
        claims: ofHosts.filter(({ deletedWith }) => deletedWith === root.urn).map(({ urn }) => urn),
        placed: [...uploads.map((upload) => binariesOf(upload, order)), ...phases],
      },
    ];
  });
}

function binariesOf({ urn, inputs }: StoredResource, { layout }: UploadOrder): Placed {
  const { PLAINKUBE_PINS: pins } = (inputs?.environment ?? {}) as Record<string, unknown>;
  const lines = text(pins)
    .split("\n")
    .map((pin) => {
      const [name = ""] = pin.split(" ");
      return ["binary", name, linkOf(name, layout), layout.store].map(shellWord).join(" ");
    });
  return { name: nameOf(urn).replace(/^.*-binaries-/, "binaries "), urn, compare: script(lines.join("\n")) };
}

function phaseOf({ urn, parent, inputs }: StoredResource, resources: readonly StoredResource[]): Placed {
  const stored = text(inputs?.stdin);
  const shipped = unpacked(stored);
  const [, phase = ""] = /\nbegin (\S+)\n/.exec(shipped) ?? [];
  const end = shipped.lastIndexOf("\napply\n");
  // What makes the shipment go again is the number of its attempt.
  const attempt = resources.find((other) => other.parent === parent && other.type === "random:index/randomId:RandomId");
  // Earlier versions had other lines, in a script that was not packed.
  if (phase === "" || end < 0 || !attempt || shipped === stored) {
    throw new Error(
      `${nameOf(urn)}: the state holds no shipment that this version can read; expected one of its own. Run 'pulumi up' with this version first`,
    );
  }
  const said = shipped.slice(shipped.indexOf(`\nbegin ${phase}\n`), end);
  return { name: phase, urn: attempt.urn, compare: script(`${said}\napply`) };
}

const script = (lines: string): string => `(\n${compareScript}\n${lines}\n)`;
