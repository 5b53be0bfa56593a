import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { changesOf, type EngineEvent, parseEvent, spansOf, type TimedEvent } from "../../bench/events.ts";
import { commandsOn } from "../../bench/program.ts";
import { parseStat } from "../../bench/sample.ts";
import { between } from "../../bench/traffic.ts";

const urn = (type: string, name: string) => `urn:pulumi:dev::plainkube::${type}::${name}`;
const step = (name: string, op = "create", type = "tls:index/privateKey:PrivateKey") => ({
  metadata: { op, urn: urn(type, name), type },
});
const timed = (at: number, event: EngineEvent): TimedEvent => ({ at, event });

describe("the engine's event log", () => {
  test("is read line by line", () => {
    const line = JSON.stringify({ sequence: 1, timestamp: 1, resourcePreEvent: step("key") });
    assert.equal(parseEvent(line).resourcePreEvent?.metadata.op, "create");
    assert.throws(() => parseEvent("null"), /expected a JSON object/);
  });

  test("gives each step its begin and its end, in the order in which they began", () => {
    const spans = spansOf([
      timed(1, { resourcePreEvent: step("second") }),
      timed(0.5, { resourcePreEvent: step("first") }),
      timed(2, { resOutputsEvent: step("second") }),
      timed(4, { resOutputsEvent: step("first") }),
    ]);
    assert.deepEqual(
      spans.map(({ name, start, end, failed }) => [name, start, end, failed]),
      [
        ["first", 0.5, 4, false],
        ["second", 1, 2, false],
      ],
    );
    assert.equal(spans[0]?.type, "tls:index/privateKey:PrivateKey");
  });

  test("keeps the steps of one resource apart by their operation", () => {
    const spans = spansOf([
      timed(1, { resourcePreEvent: step("id", "create-replacement") }),
      timed(2, { resOutputsEvent: step("id", "create-replacement") }),
      timed(3, { resourcePreEvent: step("id", "delete-replaced") }),
      timed(5, { resOutputsEvent: step("id", "delete-replaced") }),
    ]);
    assert.deepEqual(
      spans.map(({ op, start, end }) => [op, start, end]),
      [
        ["create-replacement", 1, 2],
        ["delete-replaced", 3, 5],
      ],
    );
  });

  test("marks what failed, and what the log's end cut off", () => {
    const spans = spansOf([
      timed(1, { resourcePreEvent: step("a") }),
      timed(1, { resourcePreEvent: step("b") }),
      timed(2, { resOpFailedEvent: step("a") }),
      timed(3, { summaryEvent: {} }),
    ]);
    assert.deepEqual(
      spans.map(({ name, end, failed }) => [name, end, failed]),
      [
        ["a", 2, true],
        ["b", 3, true],
      ],
    );
  });

  test("tells changes from what stays", () => {
    const of = (op: string) => [
      timed(1, { resourcePreEvent: step("a", op) }),
      timed(2, { resOutputsEvent: step("a", op) }),
    ];
    assert.equal(changesOf(spansOf(of("same"))).length, 0);
    assert.equal(changesOf(spansOf(of("update"))).length, 1);
  });

  test("tells on which hosts commands ran", () => {
    const on = (type: string, name: string) => ({ urn: "", type, name, op: "update", start: 0, end: 1, failed: false });
    const spans = [
      on("command:remote:Command", "node1-node-apply"),
      on("command:remote:Command", "proof-node2"),
      on("command:local:Command", "node3-binaries-runtime"),
      on("command:remote:Command", "node10-node-apply"),
      on("plainkube:host:Host", "node1"),
    ];
    assert.deepEqual(commandsOn(["node1", "node2"], spans), ["node1-node-apply", "proof-node2"]);
  });
});

describe("what a run takes", () => {
  test("is read from /proc, whatever the program is called", () => {
    const numbers = ["1", "2", "3", "0", "-1", "4194560", "100", "200", "0", "0", "150", "50", "25", "75"];
    const stat = `42 (a (b) c) S ${[...numbers, "20", "0", "1", "0", "5000", "1000000", "256"].join(" ")} 0 0\n`;
    assert.deepEqual(parseStat(stat), { program: "a (b) c", cpu: 3, rss: 256 * 4096 });
    assert.throws(() => parseStat("42 nothing"), /expected PID/);
  });

  test("is counted between two looks, of which each is a connection itself", () => {
    const before = { connections: { node1: 5, node2: 2 }, sentBefore: 900, sentBytes: 1000 };
    const after = { connections: { node1: 9, node2: 3, node3: 4 }, sentBefore: 5000, sentBytes: 5200 };
    assert.deepEqual(between(before, after), { connections: { node1: 3, node2: 0, node3: 3 }, sentBytes: 4000 });
  });
});
