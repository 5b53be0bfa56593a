import assert from "node:assert/strict";
import { test } from "node:test";
import { focusOf, plainName, planRun, type SuiteSpec } from "../../conformance/plan.ts";
import { areas as realAreas, needs as realNeeds } from "../../conformance/specs.ts";

const areas = [
  { name: "DNS", prefixes: ["[sig-network] DNS "] },
  { name: "Pods", prefixes: ["[sig-node] Pods ", "[sig-node] Pods Extended "] },
];
const needs = [{ spec: "[sig-node] Pods should look older", image: "old:1.0", why: "it is too old" }];

const spec = (name: string, ...labels: string[]): SuiteSpec => ({ name, labels: ["Conformance", ...labels] });
const suite = [
  spec("[sig-network] DNS should resolve (all) names [Conformance]"),
  spec("[sig-network] DNSSEC should be left alone [Conformance]"),
  spec("[sig-node] Pods should look older [NodeConformance] [Conformance]"),
  spec("[sig-node] Pods should run [Conformance]"),
  spec("[sig-node] Pods Extended should evict [Serial] [Conformance]", "Serial"),
];

test("each spec of the suite is run, not runnable, serial or elsewhere", () => {
  const plan = planRun(suite, areas, needs);
  assert.deepEqual(plan.run, [
    { name: "[sig-network] DNS should resolve (all) names [Conformance]", area: "DNS" },
    { name: "[sig-node] Pods should run [Conformance]", area: "Pods" },
  ]);
  assert.deepEqual(
    plan.notRunnable.map(({ area, reason }) => [area, reason]),
    [["Pods", "needs the image old:1.0: it is too old"]],
  );
  assert.deepEqual(
    plan.serial.map(({ name }) => name),
    ["[sig-node] Pods Extended should evict [Serial] [Conformance]"],
  );
  assert.equal(plan.elsewhere, 1);
});

test("a focus narrows what is chosen", () => {
  const plan = planRun(suite, areas, needs, /Pods should/);
  assert.deepEqual([plan.run.length, plan.notRunnable.length, plan.serial.length, plan.elsewhere], [1, 1, 0, 1]);
});

test("a table entry that matches no spec is reported, each with its name", () => {
  const stale = [...areas, { name: "Gone", prefixes: ["[sig-gone] Nothing "] }];
  const wrong = [...needs, { spec: "[sig-node] Pods should vanish", image: "x:1", why: "-" }];
  assert.throws(() => planRun(suite, stale, wrong), /"\[sig-gone\] Nothing ", "\[sig-node\] Pods should vanish"/);
});

test("the focus matches the chosen names to the end and nothing else", () => {
  const [dns, , , pods] = suite.map(({ name }) => ({ name, area: "" }));
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

test("every prefix ends in a space, so that it means a whole name; no spec belongs to two areas", () => {
  const prefixes = realAreas.flatMap((area) => area.prefixes);
  assert.deepEqual(
    prefixes.filter((prefix) => !prefix.endsWith(" ")),
    [],
  );
  assert.equal(new Set(prefixes).size, prefixes.length);
  for (const { spec: name } of realNeeds) {
    assert.equal(plainName(name), name);
    assert.equal(realAreas.filter((area) => area.prefixes.some((prefix) => name.startsWith(prefix))).length, 1, name);
  }
});
