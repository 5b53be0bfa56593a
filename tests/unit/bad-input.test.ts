/**
 * The wrong configurations of tests/bad-input, as users would write them: the real CLI reads each, and the program's own
 * reader refuses it with exactly the message beside it. `UPDATE_GOLDEN=1` writes the messages anew.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as pulumi from "@pulumi/pulumi";
import { loadSpec } from "../../components/config.ts";
import { clusterSchema } from "../../components/schema.ts";
import { settings } from "../../docs/generate.ts";
import { trial } from "../figures.ts";
import {
  type BadInput,
  ConfigStack,
  filled,
  general,
  readCases,
  type Setting,
  secrets,
  writeMessages,
} from "./bad-input.ts";
import { projectDirectory, ssh } from "./clusters.ts";

const pages = await readCases();
const stack = await ConfigStack.make();
const isUpdate = process.env.UPDATE_GOLDEN === "1";

/** What a case need not say. */
const hosts = [
  { name: "node1", address: "10.90.23.41", roles: ["control-plane", "worker"] },
  { name: "node2", address: "10.90.23.42", roles: ["worker"] },
];

/** Whether a case is a whole file, or one whose settings go to the program. */
const isWhole = ({ yaml }: BadInput) => !/^"?plainkube:/.test(yaml);

const inside = [...pages.values()].flat().filter((bad) => !isWhole(bad));
const decoded = await stack.decode(inside.map(({ yaml }) => filled(yaml)));
const settingsOf = new Map(inside.map((bad, i) => [bad, decoded[i] ?? new Map<string, Setting>()]));

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Pulumi itself refuses a setting whose kind is not the one of Pulumi.yaml, before it starts the program. */
function isOfKind(name: string, { objectValue }: Setting): boolean {
  if (["hosts", "users"].includes(name)) return Array.isArray(objectValue) && objectValue.every(isObject);
  if (["clusterName", "system"].includes(name)) return objectValue === undefined;
  return !Object.hasOwn(clusterSchema.shape, name) || isObject(objectValue);
}

const reachesProgram = (given: ReadonlyMap<string, Setting>): boolean =>
  [...given].every(([name, setting]) => isOfKind(name, setting));

/** What the program's reader says of settings that the CLI hands to it. */
async function refusal(given: ReadonlyMap<string, Setting>): Promise<string> {
  const own = given.get("ssh")?.objectValue;
  const all = {
    hosts: JSON.stringify(hosts),
    ...Object.fromEntries([...given].map(([name, { value }]) => [name, value])),
    ssh: JSON.stringify({ ...ssh, ...(isObject(own) && own) }),
  };
  process.chdir(projectDirectory);
  pulumi.runtime.setAllConfig(
    Object.fromEntries(Object.entries(all).map(([name, value]) => [`plainkube:${name}`, value])),
  );
  try {
    await loadSpec();
  } catch (error) {
    // Anything else Pulumi would show with its stack.
    assert.ok(error instanceof pulumi.RunError, String((error as Error).stack));
    return error.message;
  }
  return "taken";
}

/** What a user sees who previews a stack with this file. */
async function previewed(text: string): Promise<string> {
  const { code, stdout, stderr } = await stack.run(["preview"], text);
  assert.notEqual(code, 0, stdout);
  const [, diagnostics] = stdout.split("\nDiagnostics:\n");
  const said = diagnostics?.split("\n\nResources:")[0]?.replaceAll(/^ {4}/gm, "").replace(/^.*\n/, "") ?? "";
  return [stderr.trim(), said.trim()].filter(Boolean).join("\n");
}

/** The file of a case whose settings stand below `config:`. */
const asFile = (yaml: string) => `config:\n${yaml.replaceAll(/^(?=.)/gm, "  ")}`;

before(async () => {
  await pulumi.runtime.setMocks(
    { call: () => ({}), newResource: ({ name }) => ({ id: name, state: {} }) },
    "plainkube",
    "bad",
    true,
  );
});

for (const [page, cases] of pages) {
  const messages = new Map<string, string>();
  describe(`bad input: ${page}`, { concurrency: 2 }, () => {
    for (const bad of cases) {
      test(bad.name, () =>
        trial("badInputs", async () => {
          const given = settingsOf.get(bad);
          const said =
            given && reachesProgram(given)
              ? await refusal(given)
              : await previewed(filled(isWhole(bad) ? bad.yaml : asFile(bad.yaml)));
          const message = general(said);
          for (const secret of secrets) assert.ok(!said.includes(secret), `a secret is in the message:\n${said}`);
          assertReadable(message);
          if (isUpdate) messages.set(bad.name, message);
          else assert.equal(message, bad.message);
        }),
      );
    }
    after(async () => {
      if (isUpdate) await writeMessages(page, messages);
    });
  });
}

/** Nothing of the program's inside, nothing that a terminal would not show, nothing endless. */
function assertReadable(message: string): void {
  assert.doesNotMatch(message, /^taken$|Zod|\[object|undefined|Invalid (input|option|key)|received|\brecord\b|^ +at /m);
  assert.doesNotMatch(message, /(?!\n)[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u);
  for (const line of message.split("\n")) assert.ok(line.length < 700, line);
}

/** A configuration that no one would write down. */
const huge: Record<string, readonly [given: Record<string, unknown>, message: string]> = {
  "10 MB for a name": [
    { clusterName: "n".repeat(1e7) },
    problem(
      "clusterName is not valid",
      `"${"n".repeat(116)}…`,
      "a DNS label: lower-case letters, digits and `-` of at most 63 characters",
    ),
  ],
  "10 MB for the name of a setting": [
    { ["n".repeat(1e7)]: "a" },
    problem(
      `"${"n".repeat(116)}… is not a setting`,
      `"${"n".repeat(116)}…`,
      `one of ${Object.keys(clusterSchema.shape).join(", ")}`,
      "remove it, or see docs/config.md for the right name",
    ),
  ],
  "10 MB for a path": [
    { ssh: { ...ssh, privateKeyFile: "/a".repeat(5e6) } },
    problem("ssh.privateKeyFile is not valid", `"${"/a".repeat(58)}…`, "a path of at most 4096 characters"),
  ],
  "10,000 hosts": [
    {
      hosts: Array.from({ length: 10_000 }, (_, i) => ({
        name: `n${i}`,
        address: `10.1.${Math.floor(i / 200)}.${(i % 200) + 1}`,
        roles: ["worker"],
      })),
    },
    problem(
      "hosts is not valid",
      '[{"name":"n0","address":"10.1.0.1","roles":["worker"]},{"name":"n1","address":"10.1.0.2","roles":["worker"]},{"name":…',
      "at most 1000 hosts",
    ),
  ],
  "100,000 levels": [
    { overrides: `${'{"a":'.repeat(1e5)}1${"}".repeat(1e5)}` },
    problem("overrides has lists and objects too deep in each other", "more than 40 levels", "at most 40"),
  ],
  "a field of a component in 50 levels": [
    { overrides: { kubelet: { config: JSON.parse(`${'{"a":'.repeat(50)}1${"}".repeat(50)}`) } } },
    problem("overrides has lists and objects too deep in each other", "more than 40 levels", "at most 40"),
  ],
};

function problem(what: string, got: string, expected: string, remedy = "correct it; see docs/config.md"): string {
  return `1 problem in the configuration; nothing was changed.\n  plainkube:${what}\n    got:      ${got}\n    expected: ${expected}\n    remedy:   ${remedy}`;
}

for (const [name, [given, message]] of Object.entries(huge)) {
  test(`bad input, huge: ${name}`, () =>
    trial("badInputs", async () => {
      const began = performance.now();
      const said = await refusal(
        new Map(
          Object.entries(given).map(([key, value]) => [
            key,
            { value: typeof value === "string" ? value : JSON.stringify(value), objectValue: value },
          ]),
        ),
      );
      assert.equal(said, message);
      assert.ok(performance.now() - began < 5000, "in seconds");
    }));
}

test("bad input: more than Pulumi can hand to a program", () =>
  trial("badInputs", async () => {
    const said = await previewed(`config:\n  plainkube:clusterName: ${"n".repeat(200_000)}\n`);
    assert.match(said, /argument list too long$/);
  }));

const lastLine = (text: string) => text.trimEnd().split("\n").at(-1);
const asked = "error: getting stack configuration: get stack secrets manager: ";
/** What surrounds a configuration → the arguments, the environment, the answer. */
const around: Record<string, readonly [args: readonly string[], change: NodeJS.ProcessEnv, answer: string]> = {
  "another passphrase": [[], { PULUMI_CONFIG_PASSPHRASE: "another" }, `${asked}incorrect passphrase`],
  "no passphrase": [
    [],
    { PULUMI_CONFIG_PASSPHRASE: undefined },
    `${asked}passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables`,
  ],
  "a file of the passphrase that is not there": [
    [],
    { PULUMI_CONFIG_PASSPHRASE: undefined, PULUMI_CONFIG_PASSPHRASE_FILE: "/no/such/file" },
    `${asked}unable to read PULUMI_CONFIG_PASSPHRASE_FILE: open /no/such/file: no such file or directory`,
  ],
  "a stack that nobody made": [["--stack", "nobody"], {}, "error: no stack named 'nobody' found"],
};

for (const [name, [args, change, answer]] of Object.entries(around)) {
  test(`bad input, around: ${name}`, () =>
    trial("badInputs", async () => {
      const result = await stack.plain(["preview", "--non-interactive", "--config-file", stack.file, ...args], change);
      assert.notEqual(result.code, 0);
      assert.equal(lastLine(result.stderr), answer);
    }));
}

test("bad input: the whole output of a preview", () =>
  trial("badInputs", async () => {
    const { code, stdout, stderr } = await stack.run(
      ["preview"],
      "config:\n  plainkube:hosts: []\n  plainkube:network: {mtu: 3}\n",
    );
    assert.equal(stderr, "");
    assert.notEqual(code, 0);
    const [, diagnostics = ""] = stdout.split("\nDiagnostics:\n");
    assert.equal(
      diagnostics.trimEnd(),
      `  pulumi:pulumi:Stack (plainkube-bad):
    error: 2 problems in the configuration; nothing was changed.
      plainkube:hosts is not valid
        got:      []
        expected: at least one host
        remedy:   list the hosts under plainkube:hosts in Pulumi.<stack>.yaml; if they are there, see that the file is named for this stack
      plainkube:network.mtu is not valid
        got:      3
        expected: 0 or an MTU from 1280 to 9216
        remedy:   correct it; see docs/config.md

Resources:
    + 1 to create
    1 errored`,
    );
  }));

test("no bad input has made anything", async () => {
  const { stdout } = await stack.plain(["stack", "export"]);
  assert.equal(JSON.parse(stdout).deployment.resources, undefined);
});

test("every setting is got wrong at least once", () => {
  const wrong = [...pages.values()]
    .flat()
    .flatMap(({ message }) => [...message.matchAll(/^ {2}plainkube:([\w.[\]]+)/gm)])
    .map(([, path = ""]) => path.replaceAll(/\[\d+\]/g, "[]"));
  const missing = settings().filter(
    (path) => !wrong.some((w) => w === path || w.startsWith(`${path}.`) || w.startsWith(`${path}[`)),
  );
  assert.deepEqual(missing, []);
});
