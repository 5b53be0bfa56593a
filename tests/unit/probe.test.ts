/** The probe that ends an `up`, against servers on this machine that answer as the workload does; no Service is involved. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { wholeScript } from "../../components/host/shipment.ts";
import { freePort } from "../plugin/sshd.ts";
import { directory, projectDirectory } from "./clusters.ts";

const probe = readFileSync(join(projectDirectory, "components/proof/probe.sh"), "utf8");

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function ask(url: string, nodes: string, seconds: number, byName = true): Promise<Outcome> {
  const settings = [`url=${url}`, `nodes='${nodes}'`, `seconds=${seconds}`, `by_name=${byName}`];
  const script = wholeScript([...settings, probe].join("\n"));
  const child = spawn("bash", ["-s"], { stdio: "pipe", timeout: 30_000 });
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => {
    text.stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    text.stderr += chunk;
  });
  child.stdin.end(script);
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { status, ...text };
}

/** The probe's outcome with a server that answers requests for / and for /peer, counted from 0. */
async function probed(
  answers: { root: (n: number) => string; peer: (n: number) => string | undefined },
  nodes: string,
  seconds = 2,
  byName = true,
): Promise<Outcome> {
  let roots = 0;
  let peers = 0;
  const listener: RequestListener = (request, response) => {
    const text = request.url === "/peer" ? answers.peer(peers++) : answers.root(roots++);
    response.statusCode = text === undefined ? 502 : 200;
    response.end(text ?? "no such host");
  };
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const address = server.address();
    assert.ok(address && typeof address === "object");
    return await ask(`http://127.0.0.1:${address.port}`, nodes, seconds, byName);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const answer = (node: string) => JSON.stringify({ pod: `proof-${node}`, node });
const inTurn =
  (...nodes: string[]) =>
  (n: number) =>
    answer(nodes[n % nodes.length] ?? "");

test("passes when every node and a peer have answered, and prints what they said in the order asked for", async () => {
  const outcome = await probed({ root: inTurn("b", "a", "other"), peer: () => "peer says hello" }, "a b");
  assert.deepEqual(outcome, { status: 0, stdout: `${answer("a")}\n${answer("b")}\npeer says hello\n`, stderr: "" });
});

test("goes on until a late node and a late peer answer", async () => {
  const late = (n: number) => (n < 8 ? answer("a") : answer("b"));
  const peer = (n: number) => (n < 3 ? undefined : "hello");
  const { status, stdout } = await probed({ root: late, peer }, "a b", 20);
  assert.deepEqual([status, stdout.split("\n").length], [0, 4]);
});

test("meets the pods of many nodes in time, though the Service chooses any of them each time", async () => {
  const names = Array.from({ length: 60 }, (_, i) => `worker${i}`);
  let seed = 1;
  const any = () => {
    seed = (seed * 48271) % 2147483647;
    return answer(names[seed % names.length] ?? "");
  };
  // A tenth of a second after each of the hundreds of answers would be longer than that.
  const { status, stderr } = await probed({ root: any, peer: () => "hello" }, names.join(" "), 20);
  assert.deepEqual([status, stderr], [0, ""]);
});

function failure(outcome: Outcome, ...lines: RegExp[]): void {
  assert.equal(outcome.status, 1);
  assert.equal(outcome.stdout, "");
  for (const line of [
    /^plainkube: the Service at http:\/\/127\.0\.0\.1:\d+ did not answer in full from \S+ within \d s\.$/m,
    ...lines,
    /^Look at 'kubectl get pods .*; then run 'pulumi up' again\.$/m,
  ]) {
    assert.match(outcome.stderr, line);
  }
}

test("fails when a node never answers, and names it", async () => {
  const outcome = await probed({ root: inTurn("a"), peer: () => "hello" }, "a b c");
  failure(outcome, /no answer from a pod on: b c $/m, /by DNS name from a pod: hello$/m, /last answer: .*"node":"a"/);
});

test("fails when no pod reaches the Service by name", async () => {
  const outcome = await probed({ root: inTurn("a"), peer: () => undefined }, "a");
  failure(outcome, /no answer from a pod on: $/m, /by DNS name from a pod: no answer$/m);
});

test("asks no pod for a name where there is no DNS", async () => {
  const peer = () => assert.fail("a peer was asked for");
  const outcome = await probed({ root: inTurn("a", "b"), peer }, "a b", 2, false);
  assert.deepEqual(outcome, { status: 0, stdout: `${answer("a")}\n${answer("b")}\n`, stderr: "" });
});

test("fails when nothing listens, with what curl said", async () => {
  const outcome = await ask(`http://127.0.0.1:${await freePort()}`, "a", 1);
  failure(outcome, /no answer from a pod on: a $/m, /last answer: curl: \(7\)/);
});

test("an answer that names no node counts for none", async () => {
  const outcome = await probed({ root: () => "<h1>it works</h1>", peer: () => "hello" }, "a", 1);
  failure(outcome, /no answer from a pod on: a $/m, /last answer: <h1>it works<\/h1>$/m);
});

test("a node whose name only begins like another's is not taken for it", async () => {
  const outcome = await probed({ root: inTurn("node10"), peer: () => "hello" }, "node1", 1);
  failure(outcome, /no answer from a pod on: node1 $/m);
});

test("a server that takes a request and never answers does not hold the probe", async () => {
  // It hangs up in the end, so that a probe that would wait for ever fails this test instead of holding it.
  const server = createServer((_, response) => void setTimeout(() => response.destroy(), 20_000).unref());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address && typeof address === "object");
  const started = Date.now();
  const outcome = await ask(`http://127.0.0.1:${address.port}`, "a", 1);
  server.closeAllConnections();
  server.close();
  failure(outcome, /last answer: curl: \(28\)/);
  assert.ok(Date.now() - started < 15_000);
});

test("what pods answer is text to the shell", async () => {
  const found = join(directory, "FOUND");
  const names = [`$(touch ${found})`, `x[$(touch ${found})]`, `a]=1; touch ${found}; b[1`, `\`touch ${found}\``];
  const outcome = await probed({ root: inTurn(...names, "a"), peer: () => `$(touch ${found})` }, "a", 10);
  assert.deepEqual(outcome, { status: 0, stdout: `${answer("a")}\n$(touch ${found})\n`, stderr: "" });
  assert.ok(!existsSync(found));
});
