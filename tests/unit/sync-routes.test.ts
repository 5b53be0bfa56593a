/** The script that keeps routes to the pods of other nodes, run for real beside stand-ins of kubectl and ip. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { projectDirectory } from "./clusters.ts";
import { Sandbox } from "./sandbox.ts";

const script = readFileSync(join(projectDirectory, "components/network/sync-routes.sh"), "utf8");

/** Notes each call and keeps routes of protocol 112 as lines `CIDR via ADDRESS`. */
const ip = `#!/bin/bash
table=/opt/routes
if [ "$*" = "-o route show proto 112" ]; then cat "$table"; exit; fi
[ "$*" = "-force -batch -" ] || exit 9
echo batch >>/opt/calls
while read -r _ verb cidr rest; do
  grep -v "^$cidr " "$table" >"$table.new" || :
  if [ "$verb" = replace ]; then echo "$cidr $rest" >>"$table.new"; else grep -q "^$cidr " "$table" || exit 2; fi
  mv "$table.new" "$table"
done
`;

interface Seen {
  readonly routes: readonly string[];
  /** Lists of all nodes, and calls of ip that change something. */
  readonly lists: number;
  readonly batches: number;
}

const node = (name: string, cidr: string, via: string) => `${name}|${cidr}|${via}`;

/** What the script has done when the watch ends, after the events; pauses stand between parts. */
function follow(there: readonly string[], listed: readonly string[], parts: readonly (readonly string[])[]): Seen {
  const sandbox = new Sandbox();
  for (const dir of ["/opt/plainkube/bin", "/opt/run"]) mkdirSync(sandbox.at(dir), { recursive: true });
  const put = (path: string, text: string) => writeFileSync(sandbox.at(path), text, { mode: 0o755 });
  const lines = (all: readonly string[]) => all.map((line) => `${line}\n`).join("");
  put("/opt/routes", lines(there));
  put("/opt/calls", "");
  put("/opt/list", lines(listed));
  const watch = parts.map((part, i) => {
    put(`/opt/events-${i}`, lines(part));
    return `cat /opt/events-${i}; sleep 0.3`;
  });
  put(
    "/opt/plainkube/bin/kubectl",
    // Without that flag, kubectl says nothing of use of more than 500 nodes.
    `#!/bin/bash\ncase "$*" in *--watch*--chunk-size=0*) sleep 0.3; ${watch.join("; ")} ;; *) echo list >>/opt/calls; cat /opt/list ;; esac\n`,
  );
  writeFileSync(join(sandbox.at("/sbin"), "ip"), ip, { mode: 0o755 });
  const environment = "export KUBECONFIG=/none NODE_NAME=node1\n";
  const run = sandbox.run(environment + script.replaceAll("/run/plainkube", "/opt/run"));
  assert.deepEqual([run.status, run.stderr], [1, "the watch of nodes ended; systemd starts it again\n"]);
  assert.equal(sandbox.read("/opt/run/routes.ready"), "");
  const calls = (sandbox.read("/opt/calls") ?? "").split("\n");
  return {
    routes: (sandbox.read("/opt/routes") ?? "").split("\n").filter(Boolean).sort(),
    lists: calls.filter((call) => call === "list").length,
    batches: calls.filter((call) => call === "batch").length,
  };
}

const added = (line: string) => `ADDED|${line}`;
const own = node("node1", "10.244.0.0/24", "10.90.23.41");
const second = node("node2", "10.244.1.0/24", "10.90.23.42");

test("other nodes with a share and an address are routed to; what is left of others goes", () => {
  const left = "10.244.9.0/24 via 10.90.23.49 proto 112";
  const { routes } = follow([left], [own, second, node("new", "", ""), node("blind", "10.244.7.0/24", "")], [[]]);
  assert.deepEqual(routes, ["10.244.1.0/24 via 10.90.23.42 proto 112"]);
});

test("a node that joins, moves and leaves costs no list", () => {
  const joins = ["ADDED|node3||", "MODIFIED|node3||10.90.23.43", "MODIFIED|node3|10.244.2.0/24|10.90.23.43"];
  const all = [own, second];
  const after = (...parts: string[][]) => follow([], all, [all.map(added), ...parts]);
  const joined = after(joins);
  assert.deepEqual(joined.routes, [
    "10.244.1.0/24 via 10.90.23.42 proto 112",
    "10.244.2.0/24 via 10.90.23.43 proto 112",
  ]);
  assert.equal(joined.lists, 1);
  const moved = after(joins, ["MODIFIED|node3|10.244.2.0/24|10.90.23.44"]);
  assert.deepEqual(moved.routes[1], "10.244.2.0/24 via 10.90.23.44 proto 112");
  // Its share goes to another before its own Node is gone.
  const taken = after(joins, ["ADDED|node4|10.244.2.0/24|10.90.23.45", "DELETED|node3|10.244.2.0/24|10.90.23.43"]);
  assert.deepEqual(taken.routes[1], "10.244.2.0/24 via 10.90.23.45 proto 112");
  const left = after(joins, ["DELETED|node3|10.244.2.0/24|10.90.23.43"]);
  assert.deepEqual([left.routes, left.lists], [["10.244.1.0/24 via 10.90.23.42 proto 112"], 1]);
});

test("heartbeats change nothing, and hundreds of nodes that are there or join together are few calls of ip", () => {
  const many = Array.from({ length: 300 }, (_, i) =>
    node(`worker${i}`, `10.245.${i % 250}.${i < 250 ? 0 : 128}/25`, `10.91.0.${(i % 250) + 1}`),
  );
  const beats = many.map((line) => `MODIFIED|${line}`);
  const { routes, lists, batches } = follow([], many, [many.map(added), beats, beats]);
  assert.deepEqual([routes.length, lists, batches], [300, 1, 1]);
  const late = follow([], [own], [many.map(added)]);
  assert.deepEqual([late.routes.length, late.lists], [300, 1]);
  assert.ok(late.batches < 30, `${late.batches} calls of ip`);
});
