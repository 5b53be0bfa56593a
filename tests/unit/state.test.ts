import assert from "node:assert/strict";
import { test } from "node:test";
import { type Export, withoutAsking } from "../../hosts/state.ts";

const urn = (type: string, name: string) => `urn:pulumi:dev::plainkube::${type}::${name}`;
const root = (host: string, address: string) =>
  urn("plainkube:host:Host$command:remote:Command", `${host}-root-${address}`);
const beta = root("beta", "192.0.2.2");
const state: Export = {
  version: 3,
  deployment: {
    manifest: { magic: "x" },
    resources: [
      { urn: root("alpha", "192.0.2.1") },
      { urn: root("beta-2", "192.0.2.3") },
      { urn: beta, id: "1" },
      { urn: urn("command:remote:Command", "beta-node-apply"), deletedWith: beta },
      { urn: urn("command:remote:Command", "beta-leave"), deletedWith: root("alpha", "192.0.2.1") },
      { urn: urn("plainkube:host:Host", "beta") },
    ],
  },
};

test("a host that is forgotten is deleted without a word to it, with all that goes with it, and nothing else", () => {
  const { version, deployment } = withoutAsking(state, "beta");
  assert.deepEqual([version, deployment?.manifest], [3, { magic: "x" }]);
  const names = deployment?.resources?.filter((r) => r.retainOnDelete).map((r) => r.urn.split("::").at(-1));
  assert.deepEqual(names, ["beta-root-192.0.2.2", "beta-node-apply"]);
  assert.equal(
    state.deployment?.resources?.some((r) => r.retainOnDelete),
    false,
    "what was given stays as it was",
  );
});

test("a host that the stack does not have is refused, with those that it has", () => {
  assert.throws(() => withoutAsking(state, "gamma"), /^Error: host gamma: .* expected one of alpha, beta-2, beta$/);
  assert.throws(() => withoutAsking({ deployment: null }, "beta"), /expected one of none: there is nothing to forget$/);
});
