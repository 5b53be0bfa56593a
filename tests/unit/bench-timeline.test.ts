import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Span } from "../../bench/events.ts";
import { escapeXml, renderTimeline } from "../../bench/timeline.ts";

const span = (name: string, type: string, start: number, end: number, failed = false): Span => ({
  urn: `urn:pulumi:dev::plainkube::${type}::${name}`,
  ...{ name, type, op: "create", start, end, failed },
});
const spans = [
  span("pki-key", "tls:index/privateKey:PrivateKey", 1, 1.5),
  span("node1-binaries", "command:local:Command", 2, 6.25),
  span("proof", "kubernetes:apps/v1:Deployment", 7, 8),
];
const svg = renderTimeline("up <of> dev", spans, 10);

describe("the timeline", () => {
  test("escapes what XML would take for its own", () => {
    assert.equal(escapeXml(`<a href="x">'&'</a>`), "&lt;a href=&quot;x&quot;&gt;&apos;&amp;&apos;&lt;/a&gt;");
    assert.ok(svg.includes("up &lt;of&gt; dev"));
    assert.ok(!svg.includes("<of>"));
  });

  test("has a row for each resource, in the order in which the engine began", () => {
    const rows = [...svg.matchAll(/text-anchor="end" font-weight="normal">([^<]+)</g)].map(([, name]) => name);
    assert.deepEqual(rows, ["pki-key", "node1-binaries", "proof"]);
  });

  test("has a lane for each group that is there, and no other", () => {
    const lanes = [...svg.matchAll(/font-weight="bold">([^<]+)</g)].map(([, title]) => title);
    assert.deepEqual(lanes.slice(1), ["keys and certificates", "binaries sent", "objects in the cluster"]);
  });

  test("says of each bar what it was and how long it took, on its lane and on its row", () => {
    const said =
      "create node1-binaries\ncommand:local:Command\nurn:pulumi:dev::plainkube::command:local:Command::node1-binaries\n2.00 s to 6.25 s: 4.25 s";
    assert.equal(svg.split(`<title>${said}</title>`).length - 1, 2);
  });

  test("draws bars as long as they took", () => {
    // The whole run is 1000 wide.
    assert.match(svg, /<rect x="480" y="\d+" width="425" height="10"/);
    assert.match(svg, /<rect x="380" y="\d+" width="50" height="10"/);
  });

  test("shows what took no time, too, and what failed in red", () => {
    const short = renderTimeline("t", [span("a", "random:index/randomId:RandomId", 1, 1, true)], 10);
    assert.match(short, /width="1" height="10" fill="#c0392b"/);
    assert.match(short, /1\.00 s to 1\.00 s: 0\.00 s, failed/);
  });

  test("has an axis of twenty lines at most", () => {
    for (const length of [0.5, 3, 27, 400]) {
      const lines = renderTimeline("t", [span("a", "tls:x", 0, length)], length).match(/stroke="#e3e6e8"/g) ?? [];
      assert.ok(lines.length >= 2 && lines.length <= 21, `${lines.length} lines for ${length} s`);
    }
  });
});
