import assert from "node:assert/strict";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { folderOf, keep, merge, missingParts, type RunRecord } from "../../conformance/records.ts";
import { junit, markdown } from "../../conformance/report.ts";
import { summaryLine } from "../../conformance/results.ts";
import { useTemporary } from "../toolchain/temporary.ts";

const t = useTemporary();

const place = { sig: "sig-node", area: "Pods" };
const first: RunRecord = {
  part: { number: 1, of: 3 },
  kubernetes: "1.2.3",
  cluster: "the lab x",
  started: "2030-01-02T10:00:00.000Z",
  seconds: 90,
  outcomes: {
    passed: [{ ...place, name: "a", state: "passed", seconds: 2, message: "" }],
    failed: [{ ...place, name: "b", state: "timedout", seconds: 2, message: 'got <1> & "2"\u001b[0m' }],
    notRunnable: [],
  },
};
const third: RunRecord = {
  ...first,
  part: { number: 3, of: 3 },
  outcomes: {
    passed: [{ sig: "sig-apps", area: "Job", name: "c", state: "passed", seconds: 2, message: "" }],
    failed: [],
    notRunnable: [{ ...place, name: "d", reason: "only on a cloud" }],
  },
};

test("parts that have been run make one report, with those that are missing named", () => {
  assert.equal(summaryLine(merge([first, third])), "2 passed, 1 failed, 1 not runnable");
  assert.deepEqual(missingParts([first, third]), [2]);
  const text = markdown([first, third], 9);
  assert.match(
    text,
    /^Of 9 \[Conformance\] specs of the official suite: \*\*2 passed, 1 failed, 1 not runnable\*\*\.$/m,
  );
  assert.match(text, /^Not run yet: part 2 of 3\.$/m);
  assert.match(text, /^\| 1 of 3 \| 1\.2\.3 \| the lab x \| 2030-01-02T10:00:00\.000Z \| 1\.5 \| 1 \| 1 \| 0 \|$/m);
  assert.match(text, /^\| \*\*sig-node\*\* \| {2}\| 1 \| 1 \| 1 \|\n\| {2}\| Pods \| 1 \| 1 \| 1 \|$/m);
  assert.match(text, /^\| \*\*all\*\* \| {2}\| 2 \| 1 \| 1 \|$/m);
  assert.match(text, /^- b \(timedout after 2 s\)\n\n {2}```text\n {2}got <1>/m);
  assert.match(text, /^- d: only on a cloud$/m);
});

test("the JUnit file holds every spec, and whatever a failure says", () => {
  assert.deepEqual(junit([first, third]).split("\n"), [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuites tests="4" failures="1" skipped="1">',
    '  <testsuite name="sig-apps" tests="1" failures="0" skipped="0">',
    '    <testcase name="c" classname="Job" time="2.0"/>',
    "  </testsuite>",
    '  <testsuite name="sig-node" tests="3" failures="1" skipped="1">',
    '    <testcase name="a" classname="Pods" time="2.0"/>',
    '    <testcase name="b" classname="Pods" time="2.0"><failure message="timedout">got &lt;1&gt; &amp; &quot;2&quot;[0m</failure></testcase>',
    '    <testcase name="d" classname="Pods" time="0.0"><skipped message="only on a cloud"/></testcase>',
    "  </testsuite>",
    "</testsuites>",
    "",
  ]);
});

test("a run finds the other parts of its division and version; a focus stands for itself", async () => {
  const save = async (record: RunRecord) => {
    await mkdir(join(t.dir, folderOf(record.part)), { recursive: true });
    return keep(record, t.dir);
  };
  const { part: _, ...focused } = first;
  const halves = { ...first, part: { number: 2, of: 2 } };
  await save(halves);
  await save({ ...third, kubernetes: "1.2.2" });
  assert.deepEqual(await save(first), [first]);
  await save(third);
  // As a run leaves it that was cut off.
  await mkdir(join(t.dir, "part-2-of-3"), { recursive: true });
  assert.deepEqual(await save(first), [first, third]);
  assert.deepEqual(await save(focused), [focused]);
  assert.deepEqual((await readdir(t.dir)).sort(), ["focus", "part-1-of-3", "part-2-of-3", "part-3-of-3"]);
});
