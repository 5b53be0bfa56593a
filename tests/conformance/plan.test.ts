import assert from "node:assert/strict";
import { test } from "node:test";
import { focusOf, parsePart, plainName, planRun, type SuiteSpec } from "../../conformance/plan.ts";

const spec = (container: string, leaf: string, ...labels: string[]): SuiteSpec => ({
  name: `${container} ${leaf}`,
  container,
  labels: ["Conformance", ...labels],
});
const suite = [
  spec("[sig-network] DNS", "should resolve (all) names [Conformance]"),
  spec("[sig-node] [DRA]", "resource.k8s.io/v1 DeviceClass [Conformance]"),
  spec("[sig-apps] Daemon set [Serial]", "should run [Conformance]", "Serial"),
  spec("[sig-node] Pods", "should look older [NodeConformance] [Conformance]"),
  spec("[sig-apps] Daemon set [Serial]", "should retry [Conformance]", "Serial"),
  spec("[sig-node] Pods", "should run [Conformance]"),
];
const whole = { number: 1, of: 1 };

test("every spec is run, serial ones included, each in its sig and area", () => {
  const specs = planRun(suite, whole);
  assert.deepEqual(specs.map(({ name }) => name).sort(), suite.map(({ name }) => name).sort());
  assert.deepEqual(
    [...new Set(specs.map(({ sig, area }) => `${sig}: ${area}`))],
    ["sig-network: DNS", "sig-node: Pods", "sig-node: [DRA]", "sig-apps: Daemon set"],
  );
});

test("parts are disjoint, whole together, alike in size and in serial specs, and do not depend on the suite's order", () => {
  const parts = [1, 2].map((number) => planRun(suite, { number, of: 2 }).map(({ name }) => name));
  assert.deepEqual(parts.flat().sort(), suite.map(({ name }) => name).sort());
  assert.deepEqual(
    parts.map((names) => [names.length, names.filter((name) => name.includes("[Serial]")).length]),
    [
      [3, 1],
      [3, 1],
    ],
  );
  const again = [1, 2].map((number) => planRun(suite.toReversed(), { number, of: 2 }).map(({ name }) => name));
  assert.deepEqual(again, parts);
});

test("a focus narrows what is run; one that matches nothing is an error", () => {
  assert.deepEqual(
    planRun(suite, whole, /Pods should/).map(({ name }) => name),
    [suite[3]?.name, suite[5]?.name],
  );
  assert.throws(
    () => planRun(suite, whole, /Nothing/),
    /--focus=Nothing --part=1\/1: got none of 6 \[Conformance\] specs, expected one at least/,
  );
});

test("a part is i/n", () => {
  assert.deepEqual(parsePart("2/3"), { number: 2, of: 3 });
  for (const text of ["0/3", "4/3", "2", "2/3/4", "a/b", ""]) {
    assert.throws(() => parsePart(text), {
      message: `--part: got ${text}, expected i/n with i from 1 to n, such as 2/3`,
    });
  }
});

test("the focus matches the chosen names to the end and nothing else", () => {
  const [dns, , , pods] = suite.map(({ name }) => ({ name, sig: "", area: "" }));
  assert.ok(dns && pods);
  const focus = new RegExp(focusOf([dns, pods]));
  const seen = suite.filter(({ name }) => focus.test(`Kubernetes e2e suite ${name}`)).map(({ name }) => name);
  assert.deepEqual(seen, [dns.name, pods.name]);
  assert.ok(!focus.test(`Kubernetes e2e suite ${dns.name} and more`));
});

test("a plain name keeps its group and drops its tags", () => {
  assert.equal(
    plainName("[sig-node] Pods  should exec [NodeConformance]  over websockets [LinuxOnly] [Conformance]"),
    "[sig-node] Pods should exec over websockets",
  );
});
