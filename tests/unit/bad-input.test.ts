/**
 * The wrong configurations of tests/bad-input, as users would write them: the real CLI reads each, and the program's own
 * reader refuses it with exactly the message beside it. `UPDATE_GOLDEN=1` writes the messages anew.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as pulumi from "@pulumi/pulumi";
import { loadSpec } from "../../components/config.ts";
import { clusterSchema } from "../../components/schema.ts";
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
const isWhole = ({ yaml }: BadInput) => !/^(plainkube:|#)/.test(yaml);

const inside = [...pages.values()].flat().filter((bad) => !isWhole(bad));
const decoded = await stack.decode(inside.map(({ yaml }) => filled(yaml)));
const settingsOf = new Map(inside.map((bad, i) => [bad, decoded[i] ?? new Map<string, Setting>()]));

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Pulumi itself refuses a setting whose kind is not the one of Pulumi.yaml, before it starts the program. */
function isOfKind(name: string, { objectValue }: Setting): boolean {
  if (["hosts", "users"].includes(name)) return Array.isArray(objectValue) && objectValue.every(isObject);
  if (["clusterName", "system"].includes(name)) return objectValue === undefined;
  return !(name in clusterSchema.shape) || isObject(objectValue);
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
