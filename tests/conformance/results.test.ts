import assert from "node:assert/strict";
import { test } from "node:test";
import { firstLines, judge, parseResults, parseSuite, summaryLine } from "../../conformance/results.ts";

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
  assert.deepEqual(list, [
    {
      name: "[sig-node] Pods should run [Conformance]",
      container: "[sig-node] Pods",
      labels: ["sig-node", "Conformance"],
    },
  ]);
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

test("a spec without a result fails; one that skips itself is not runnable", () => {
  const chosen = ["a", "b", "c", "d"].map((name) => ({ name, sig: "sig-node", area: "Pods" }));
  const result = (name: string, state: string, message = "") => [name, { name, state, seconds: 2, message }] as const;
  const outcomes = judge(
    chosen,
    new Map([
      result("a", "passed"),
      result("b", "timedout", "too slow"),
      result("c", "skipped", "only on a cloud\nmore"),
    ]),
  );
  assert.deepEqual(
    outcomes.failed.map(({ name, state, area }) => [name, state, area]),
    [
      ["b", "timedout", "Pods"],
      ["d", "missing", "Pods"],
    ],
  );
  assert.deepEqual(
    outcomes.notRunnable.map(({ name, reason }) => [name, reason]),
    [["c", "the suite skipped it: only on a cloud"]],
  );
  assert.equal(summaryLine(outcomes), "1 passed, 2 failed, 1 not runnable");
});

test("first lines are those with text, cut to a width", () => {
  assert.equal(firstLines("\n one \n\n two\nthree", 2), " one\n two");
  assert.equal(firstLines("x".repeat(300), 1).length, 241);
});
