import assert from "node:assert/strict";
import { test } from "node:test";
import type { Plan } from "../../conformance/plan.ts";
import { firstLines, judge, markdown, parseResults, parseSuite, summaryLine } from "../../conformance/report.ts";

/** A spec as ginkgo reports it. */
function reported(group: string, leaf: string, state: string, more: object = {}): object {
  return {
    ContainerHierarchyTexts: [group],
    ContainerHierarchyLabels: [["sig-node"], null],
    LeafNodeType: "It",
    LeafNodeText: leaf,
    LeafNodeLabels: ["Conformance"],
    State: state,
    RunTime: 1_500_000_000,
    ...more,
  };
}

const failure = (message: string) => ({
  Failure: { Message: message, Location: { FileName: "test/e2e/pods.go", LineNumber: 7 } },
});
const json = (...specs: object[]) => JSON.stringify([{ SuiteDescription: "suite", SpecReports: specs }]);

test("the suite's list is what a dry run selected, with all labels", () => {
  const list = parseSuite(
    json(
      { LeafNodeType: "SynchronizedBeforeSuite", LeafNodeText: "", State: "passed", RunTime: 0 },
      reported("[sig-node] Pods", "should run [Conformance]", "passed"),
      reported("[sig-node] Pods", "should not be listed", "skipped"),
    ),
  );
  assert.deepEqual(list, [{ name: "[sig-node] Pods should run [Conformance]", labels: ["sig-node", "Conformance"] }]);
});

test("results are read by name; failures of the suite itself stand apart", () => {
  const { specs, suite } = parseResults(
    json(
      { LeafNodeType: "ReportAfterSuite", LeafNodeText: "", State: "passed", RunTime: 0 },
      {
        LeafNodeType: "SynchronizedBeforeSuite",
        LeafNodeText: "",
        State: "failed",
        RunTime: 0,
        ...failure("no nodes"),
      },
      reported("[sig-node] Pods", "should run", "passed"),
      reported("[sig-node] Pods", "should stop", "failed", failure("it ran on")),
      reported("[sig-node] Pods", "was not selected", "skipped"),
      reported("[sig-node] Pods", "needs another provider", "skipped", failure("not here")),
    ),
  );
  assert.deepEqual(
    [...specs.values()].map(({ name, state, seconds }) => [name, state, seconds]),
    [
      ["[sig-node] Pods should run", "passed", 1.5],
      ["[sig-node] Pods should stop", "failed", 1.5],
      ["[sig-node] Pods needs another provider", "skipped", 1.5],
    ],
  );
  assert.equal(specs.get("[sig-node] Pods should stop")?.message, "it ran on\ntest/e2e/pods.go:7");
  assert.deepEqual(
    suite.map(({ name, message }) => [name, message]),
    [["SynchronizedBeforeSuite", "no nodes\ntest/e2e/pods.go:7"]],
  );
});

test("a report without specs is an empty result", () => {
  assert.equal(parseResults('[{"SpecReports":null}]').specs.size, 0);
});

const chosen = (name: string) => ({ name, area: "Pods" });
const plan: Plan = {
  run: ["a", "b", "c", "d"].map(chosen),
  notRunnable: [{ ...chosen("e"), reason: "needs the image x:1: none has it" }],
  serial: [chosen("f")],
  elsewhere: 9,
};
const result = (name: string, state: string, message = "") => [name, { name, state, seconds: 2, message }] as const;
const outcomes = judge(
  plan,
  new Map([
    result("a", "passed"),
    result("b", "timedout", "too slow"),
    result("c", "skipped", "only on a cloud\nmore"),
  ]),
);

test("a spec without a result fails; one that skips itself is not runnable", () => {
  assert.deepEqual(
    outcomes.failed.map(({ name, state }) => [name, state]),
    [
      ["b", "timedout"],
      ["d", "missing"],
    ],
  );
  assert.deepEqual(
    outcomes.notRunnable.map(({ name, reason }) => [name, reason]),
    [
      ["e", "needs the image x:1: none has it"],
      ["c", "the suite skipped it: only on a cloud"],
    ],
  );
  assert.equal(summaryLine(outcomes), "1 passed, 2 failed, 2 not runnable");
});

test("the report gives figures by area, failures and reasons", () => {
  const facts = { kubernetes: "1.2.3", cluster: "the lab x", date: new Date("2030-01-02T10:00:00Z"), seconds: 90 };
  const text = markdown(plan, outcomes, facts);
  assert.match(text, /Kubernetes 1\.2\.3, 2030-01-02, 1\.5 minutes: \*\*1 passed, 2 failed, 2 not runnable\*\*/);
  assert.match(text, /^\| Pods \| 1 \| 2 \| 2 \|$/m);
  assert.match(text, /^- b \(timedout after 2 s\)\n\n {2}```text\n {2}too slow\n {2}```$/m);
  assert.match(text, /^- e: needs the image x:1: none has it$/m);
  assert.match(text, /1 serial specs of these areas, 9 \[Conformance\] specs of other areas/);
});

test("first lines are those with text, cut to a width", () => {
  assert.equal(firstLines("\n one \n\n two\nthree", 2), " one\n two");
  assert.equal(firstLines("x".repeat(300), 1).length, 241);
});
