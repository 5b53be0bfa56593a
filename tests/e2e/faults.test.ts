import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { powerOff, powerOn, runOnHost } from "../../lab/instance.ts";
import { sleep } from "../../lab/shell.ts";
import { LabStack, stackConfig } from "../../lab/stack.ts";
import { trial } from "../figures.ts";
import { isLongRun, TestCluster } from "./harness.ts";
import { driftTests, outageTests } from "./outages.ts";
import { isTaken, mendState, randomNumbers, UpRun, untilCopying } from "./up-run.ts";

/**
 * Faults that meet an `up` on its way, and then those that meet the cluster that it made: each of the first tests takes it a step
 * further and cuts it off. docs/faults.md says what users see and do; the files of the same names under tests/long try the rest.
 */

const seed = Number(process.env.PLAINKUBE_SEED ?? Date.now() % 100_000);
const random = randomNumbers(seed);
let cluster: TestCluster;

before(async () => {
  console.error(`# PLAINKUBE_SEED=${seed} kills at the same moments again`);
  cluster = await TestCluster.make({ label: "uf", config: await stackConfig("dev") });
});

after(() => cluster.remove());

const state = async () =>
  JSON.parse(await readFile(join(cluster.instance.directory, "state/.pulumi/stacks/plainkube/dev.json"), "utf8"))
    .checkpoint.latest;

/** What `up` is at when it is killed, in the order in which a first one comes to it. */
const moments = [
  /-root-\S+ creating/,
  /-binaries-control-plane creating/,
  /-binaries-runtime creating/,
  /-binaries-rest creating/,
  /-control-plane-shipment-apply creating/,
  /-control-plane-controllers-apply creating/,
  /-runtime-apply creating/,
  /access-\S+ creating/,
  /-node-apply creating/,
  / (dns|proof)-(deployment|service|namespace|config) creating/,
  / proof-node\d creating/,
];

/** Kills an `up` at a random moment of the second and a half after it came to this point, or to a later one. */
async function killedAt(index: number, isLast = false): Promise<void> {
  const run = new UpRun(cluster.stack);
  const point = new RegExp(
    moments
      .slice(index)
      .map((moment) => moment.source)
      .join("|"),
  );
  const came = await run.prints(point);
  const pause = Math.round(random() * 1500);
  await sleep(pause);
  await run.killAll();
  await mendState(cluster.instance, "dev");
  // The kill before came while a Service was made: the API server frees its address after a minute, as docs/faults.md says.
  if (!came && !isLast && run.output.includes("provided IP is already allocated")) {
    console.error(`# kill ${index + 1}: waits until the API server has freed an address`);
    await sleep(70_000);
    return killedAt(index, true);
  }
  assert.ok(came, `the run ended before kill ${index + 1}:\n${run.output}`);
  console.error(`# kill ${index + 1}: ${pause} ms after ${run.output.split("\n").find((line) => point.test(line))}`);
}

/** What a user does after a kill: the lock of the killed run is still there. */
async function unlock(): Promise<void> {
  const locked = await cluster.failingUp();
  assert.match(locked, /the stack is currently locked by 1 lock/);
  assert.match(locked, /pulumi cancel/);
  await cluster.pulumi("cancel", "--yes");
}

describe("an up that is cut off", () => {
  test("by a kill at its beginning says next time how to go on", () =>
    trial("faults", async () => {
      await killedAt(0);
      await unlock();
    }));

  test("by a lost connection and a host without power, in the middle of copies, names both hosts and what to do", async () => {
    const run = new UpRun(cluster.stack);
    // The session's own sshd, from the process that receives upwards.
    const cut = `${untilCopying(1e6)}
      pid=$(pgrep -x receive | head -n 1)
      until [ "$(cat /proc/$pid/comm)" = sshd ]; do pid=$(ps -o ppid= -p "$pid" | tr -d ' '); done
      kill -KILL "$pid"`;
    const results = await Promise.all([
      runOnHost(cluster.instance, "node1", cut, { timeoutSeconds: 60 }),
      runOnHost(cluster.instance, "node2", untilCopying(), { timeoutSeconds: 60 }).then(async (copying) => {
        await powerOff(cluster.instance, "node2");
        return copying;
      }),
    ]);
    const began = Date.now();
    assert.deepEqual(
      results.map(({ code }) => code),
      [0, 0],
      results.map(({ stderr }) => stderr).join("\n"),
    );
    const code = await run.end();
    const seconds = (Date.now() - began) / 1000;
    await trial("faults", () => {
      assert.notEqual(code, 0);
      assert.match(
        run.output,
        /sending binaries to root@10\.90\.23\.41:22 failed: .*it was lost.*run 'pulumi up' again/,
      );
    });
    await trial("faults", () => {
      assert.match(run.output, /sending binaries to root@10\.90\.23\.42:22 failed: .*See that the host is on/);
      assert.ok(seconds < 60, `the host without power was noticed after ${seconds} s`);
    });
    await powerOn(cluster.instance, "node2");
  });

  for (let index = 1; index < moments.length; index++) {
    test(`by a kill at ${moments[index]?.source} goes on from there`, () =>
      trial("faults", async () => {
        await killedAt(index);
        await cluster.pulumi("cancel", "--yes");
      }));
  }

  test("is completed by the next, while a second one beside it is refused", () =>
    trial("faults", async () => {
      const first = new UpRun(cluster.stack);
      assert.ok(await first.prints(/^Updating/), first.output);
      const second = await cluster.failingUp();
      assert.match(second, /the stack is currently locked by 1 lock.*Either wait for the other process/s);
      assert.equal(await first.end(), 0, first.output);
      await cluster.assertServiceAnswers();
      await cluster.assertNothingToDo();
    }));

  test("leaves nothing half-made on the hosts, and in the state what a refresh clears", async () => {
    for (const host of cluster.hosts) {
      assert.equal(
        await cluster.onHost(
          host,
          "find /opt/plainkube /etc /var/lib/plainkube/state -name '.part-*' -o -name '*.plainkube-new'",
        ),
        "",
      );
    }
    assert.ok(
      (await state()).pending_operations?.length > 0,
      "kills leave operations of which Pulumi does not know the end",
    );
    await cluster.pulumi("refresh", "--clear-pending-creates", "--target", "**::cluster", "--yes");
    assert.equal((await state()).pending_operations, undefined);
    assert.doesNotMatch(await cluster.up("--expect-no-changes"), /pending operations/);
  });
});

if (isLongRun) {
  describe("a binary that was changed on the host", () => {
    test("is not started, and comes anew as the error says", () =>
      trial("faults", async () => {
        const link = "/opt/plainkube/bin/kube-scheduler";
        const earlier = await cluster.invocations();
        await cluster.onHost(
          "node1",
          `set -e; cp -L ${link} /root/changed; printf X | dd of=/root/changed bs=1 seek=100000 conv=notrunc status=none; mv /root/changed $(readlink ${link})`,
        );
        const got = (await cluster.onHost("node1", `sha256sum <${link}`)).slice(0, 64);
        const expected = (await cluster.onHost("node1", `basename $(readlink ${link})`)).trim();
        await cluster.stack.configure({
          ...cluster.config,
          "plainkube:overrides": { kubeScheduler: { flags: { v: 3 } } },
        });
        const output = await cluster.failingUp();
        assert.ok(
          output.includes(
            `/opt/plainkube/store/${expected} (${link}) on node1 is damaged, and kube-scheduler.service was not started with it: got SHA-256 ${got}, expected ${expected}.`,
          ),
          output,
        );
        assert.deepEqual(await cluster.restartedSince(earlier), []);
        const [, urns = ""] = /pulumi up --replace '([^']+)'/.exec(output) ?? [];
        assert.match(await cluster.up("--replace", urns), /4 in place, 1 sent/);
        assert.deepEqual(await cluster.restartedSince(earlier), ["node1 kube-scheduler"]);
        await cluster.assertNothingToDo();
      }));
  });
}

describe("another stack", () => {
  test("that claims the same hosts is told whose they are, and harms nothing", () =>
    trial("faults", async () => {
      const earlier = await cluster.invocations();
      const config = { ...cluster.config, "plainkube:clusterName": "other" };
      const other = await LabStack.open({ instance: cluster.instance, name: "other", config, log: console.error });
      const { code, stdout } = await other.pulumi(["up", "--yes", "--skip-preview"]);
      assert.notEqual(code, 0);
      assert.match(stdout, isTaken);
      assert.match(stdout, /node dev-[0-9a-f]{8}\/node[12]@10\.90\.23\.4[12]/);
      const gone = await other.pulumi(["destroy", "--yes"]);
      assert.equal(gone.code, 0, gone.stdout + gone.stderr);
      assert.deepEqual(await cluster.restartedSince(earlier), []);
      await cluster.assertServiceAnswers();
    }));
});

outageTests(() => cluster);

driftTests(() => cluster);

describe("destroy", () => {
  test("leaves the hosts as they were before all that", () => cluster.assertGivenBack());
});
