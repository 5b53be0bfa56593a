import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Measurements } from "../../bench/measurements.ts";
import { report, shown, table } from "../../bench/report.ts";
import { ratios, summarize } from "../../bench/statistics.ts";

describe("a summary", () => {
  test("has the median and the range, in whatever order the values came", () => {
    assert.deepEqual(summarize([3, 1, 2]), { median: 2, min: 1, max: 3, count: 3 });
  });
  test("of an even count has the mean of the middle two as its median", () => {
    assert.deepEqual(summarize([4, 1, 3, 10]), { median: 3.5, min: 1, max: 10, count: 4 });
  });
  test("orders numbers as numbers", () => assert.equal(summarize([9, 10, 100]).median, 10));
  test("of nothing is refused", () => assert.throws(() => summarize([]), /expected one measurement/));
});

describe("ratios", () => {
  const of = (values: Record<string, number>) =>
    new Map(Object.entries(values).map(([name, value]) => [name, summarize([value])]));

  test("are of the medians, and met at their limit", () => {
    const [ratio] = ratios([{ subject: "a", base: "b", limit: 1.5 }], of({ a: 3, b: 2 }));
    assert.equal(ratio?.ratio, 1.5);
    assert.equal(ratio?.isMet, true);
  });
  test("are missed above a limit, and below one of the other sense", () => {
    const goals = [
      { subject: "a", base: "b", limit: 1 },
      { subject: "b", base: "a", limit: 1, sense: "at least" },
    ] as const;
    assert.deepEqual(
      ratios(goals, of({ a: 3, b: 2 })).map(({ isMet }) => isMet),
      [false, false],
    );
  });
  test("leave out what every run of the subject starts with", () => {
    const [ratio] = ratios([{ subject: "a", base: "b", limit: 1.5, without: "start" }], of({ a: 5, b: 2, start: 3 }));
    assert.equal(ratio?.ratio, 1);
  });
  test("need all their measurements", () => {
    assert.deepEqual(ratios([{ subject: "a", base: "b", limit: 1 }], of({ a: 1 })), []);
    assert.deepEqual(ratios([{ subject: "a", base: "b", limit: 1, without: "c" }], of({ a: 1, b: 1 })), []);
  });
});

describe("the report", () => {
  test("shows values with their units", () => {
    assert.equal(shown(1.234, "s"), "1.23 s");
    assert.equal(shown(512.4, "MB/s"), "512 MB/s");
    assert.equal(shown(3, "count"), "3");
    assert.equal(shown(1_234, "bytes"), "1.2 kB");
    assert.equal(shown(834_000_000, "bytes"), "834 MB");
  });
  test("lines columns up", () => {
    assert.equal(
      table([
        ["name", "n"],
        ["a", "100"],
      ]),
      "name    n\na     100",
    );
  });
  test("has each figure with its median and range, and the ratios of those that were measured", () => {
    const measurements = new Measurements();
    for (const seconds of [12, 10, 11]) measurements.add("first up: script", seconds);
    for (const seconds of [20, 22, 24]) measurements.add("first up: pulumi", seconds);
    const text = report(measurements.summaries);
    assert.match(text, /^first up: script +11\.00 s +10\.00 s to 12\.00 s +3$/m);
    assert.match(text, /^first up: pulumi \/ first up: script +2\.00 +at most 1\.1 +missed$/m);
    assert.doesNotMatch(text, /kubeadm/);
  });
  test("has no ratios when nothing can be compared", () => {
    const measurements = new Measurements();
    measurements.add("destroy", 5);
    assert.doesNotMatch(report(measurements.summaries), /ratio/);
  });
});
