import assert from "node:assert/strict";
import { copyFile, link, mkdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { readyToSend, resolveSource } from "../../components/binaries/obtain.ts";
import { pinsFor } from "../../components/binaries/pins.ts";
import { stagesOf } from "../../components/binaries/stages.ts";
import { clusterSchema } from "../../components/schema.ts";
import { supportedVersions } from "../../components/versions.ts";
import { powerOff, powerOn, runOnHost } from "../../lab/instance.ts";
import { must, run, sleep } from "../../lab/shell.ts";
import { LabStack, projectDirectory, stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "../e2e/harness.ts";
import { isTaken, mendState, UpRun, untilCopying } from "../e2e/up-run.ts";
import { trial } from "../figures.ts";

/**
 * The faults of tests/e2e/up-faults.test.ts that take longer, on one cluster; each test takes it as the one before left it.
 */

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.make({ label: "ufl", config: await stackConfig("dev") });
});

after(() => cluster.remove());

/** Starts a shell command on a host that goes on without the session. */
const beside = (host: string, command: string): Promise<string> =>
  cluster.onHost(host, `systemd-run --quiet --collect bash -c '${command}'`);

const forget = (host: string): Promise<string> =>
  must(["node", "hosts/forget.ts", host], {
    cwd: projectDirectory,
    env: { ...process.env, ...cluster.stack.environment },
  });

describe("two stacks that want the same fresh hosts at the same moment", () => {
  test("get each host for one of them at most, and give back what they got", () =>
    trial("faults", async () => {
      const config = { ...cluster.config, "plainkube:clusterName": "other" };
      const other = await LabStack.open({ instance: cluster.instance, name: "other", config, log: console.error });
      const stacks = [cluster.stack, other];
      const runs = stacks.map((stack) => new UpRun(stack));
      // Refused, or past the claim.
      await Promise.all(
        runs.map((each) => each.prints(/node (dev|other)-\S+( of plainkube|;)|-binaries-\S+ creating/)),
      );
      const refused = runs.filter(({ output }) => isTaken.test(output));
      await Promise.all(runs.map((each) => each.killAll()));
      assert.ok(refused.length > 0, `neither was refused:\n${runs.map(({ output }) => output).join("\n")}`);
      for (const host of cluster.hosts) {
        const owner = await cluster.onHost(host, "cat /var/lib/plainkube/state/owner");
        assert.match(owner, new RegExp(`^(dev|other)-[0-9a-f]{8}/${host}@\\S+\n$`));
      }
      for (const stack of stacks) {
        await mendState(cluster.instance, stack.name);
        // One that has ended by itself holds no lock.
        await stack.pulumi(["cancel", "--yes"]);
        const { code, stdout, stderr } = await stack.pulumi(["destroy", "--yes"]);
        assert.equal(code, 0, stdout + stderr);
      }
      for (const host of cluster.hosts) await cluster.onHost(host, "test ! -e /var/lib/plainkube");
    }));
});

/** For a host's shell: nothing comes in or goes out by SSH for so long, and nobody is told. */
const silence = (seconds: number) => {
  const rules = (what: string) =>
    `iptables ${what} INPUT -p tcp --dport 22 -j DROP; iptables ${what} OUTPUT -p tcp --sport 22 -j DROP`;
  return `${rules("-I")}; sleep ${seconds}; ${rules("-D")}`;
};

describe("an up on its way", () => {
  test("is told of a silent network in the middle of a copy, and of a disk that fills up on another host", async () => {
    await beside("node1", `${untilCopying(1e6)}; ${silence(50)}`);
    await cluster.onHost("node2", "mount -t tmpfs -o size=1100m tmpfs /opt");
    await beside("node2", `${untilCopying()}; head -c 2G /dev/zero >/opt/filler`);
    const began = Date.now();
    const output = await cluster.failingUp();
    const seconds = (Date.now() - began) / 1000;
    await sleep(Math.max(0, 65_000 - (Date.now() - began)));
    await cluster.onHost("node2", "rm /opt/filler");
    await trial("faults", () => {
      assert.match(output, /sending binaries to root@10\.90\.23\.41:22 failed: no SSH connection .* or it was lost/);
      assert.ok(seconds < 60, `noticed after ${seconds} s`);
    });
    await trial("faults", () =>
      assert.match(
        output,
        /cannot write to \/opt\/plainkube\/store on node2: 0 MiB are free there\. Free \d+ MiB for what is missing, then run 'pulumi up' again/,
      ),
    );
    assert.equal(await cluster.onHost("node2", "find /opt/plainkube/store -name '.part-*'"), "");
  });

  test("is told of a full disk where configuration is written", () =>
    trial("faults", async () => {
      await cluster.onHost("node1", "mkdir -p /etc/plainkube; mount -t tmpfs -o size=32k tmpfs /etc/plainkube");
      const output = await cluster.failingUp();
      await cluster.onHost("node1", "umount /etc/plainkube");
      assert.match(
        output,
        /cannot write \/etc\/plainkube\/\S+ on node1: 0 MiB are free on \/etc\/plainkube\. Free disk space there, then run 'pulumi up' again/,
      );
    }));

  test("is told of a full disk where images are imported", () =>
    trial("faults", async () => {
      const units = "plainkube-images plainkube-containerd";
      const folder = "/var/lib/plainkube/containerd";
      // As on a host that has not got its images yet.
      await cluster.onHost(
        "node2",
        `systemctl stop ${units} || :; rm -rf ${folder} /var/lib/plainkube/state/unit.plainkube-images.service; mkdir -p ${folder}; mount -t tmpfs -o size=30m tmpfs ${folder}`,
      );
      await cluster.stack.pulumi([
        "state",
        "delete",
        await urnOf("node2-runtime-apply"),
        "--target-dependents",
        "--yes",
      ]);
      const output = await cluster.failingUp();
      await cluster.onHost("node2", `systemctl stop ${units} || :; umount ${folder}`);
      assert.match(output, /plainkube-images\.service on node2 (did not start|failed)/);
      assert.match(
        output,
        /the disk of \/var\/lib\/plainkube\/containerd on node2 is full: \d MiB are free\. Free space there/,
      );
    }));

  test("is told of a silent network while a phase is applied", () =>
    trial("faults", async () => {
      await beside("node2", `until [ -e /var/lib/plainkube/state/lock.node ]; do sleep 0.02; done; ${silence(60)}`);
      const began = Date.now();
      const output = await cluster.failingUp();
      const seconds = (Date.now() - began) / 1000;
      // node2 is heard again a minute after the last phase began, at most.
      await sleep(60_000);
      assert.match(
        output,
        /the connection to 10\.90\.23\.42:22 was lost while the command ran.*: see that the host is on and reachable/,
      );
      assert.ok(seconds < 90, `noticed after ${seconds} s`);
    }));

  test("is completed when the faults are gone", async () => {
    await cluster.up();
    await cluster.assertServiceAnswers();
    await cluster.assertNothingToDo();
  });
});

/** The URN of a resource by its name. */
async function urnOf(name: string): Promise<string> {
  const urns = await cluster.pulumi("stack", "--show-urns");
  return new RegExp(`urn:\\S*::${name}\\b`).exec(urns)?.[0] ?? `no resource ${name}`;
}

describe("what a killed run leaves", () => {
  test("of its plugins when the engine alone was killed, no command goes on", () =>
    trial("faults", async () => {
      await cluster.stack.configure({ ...cluster.config, "plainkube:overrides": { kubeProxy: { flags: { v: 3 } } } });
      const killed = new UpRun(cluster.stack);
      assert.ok(await killed.prints(/-node-apply updating/), killed.output);
      await killed.killEngine();
      await sleep(5000);
      const left = [...killed.processes().values()];
      assert.deepEqual(
        left.filter((line) => /resource-command|upload\.ts|ssh /.test(line)),
        [],
      );
      await killed.killAll();
      await mendState(cluster.instance, "dev");
      await cluster.pulumi("cancel", "--yes");
      await cluster.stack.configure(cluster.config);
      await cluster.up();
      await cluster.assertNothingToDo();
    }));

  test("inside the cluster, unknown to the state, is taken over", () =>
    trial("faults", async () => {
      const namespace = () => cluster.kubectl("get", "namespace", "plainkube-proof", "-o", "jsonpath={.metadata.uid}");
      const before = await namespace();
      for (const name of ["proof-namespace", "dns-config", "access-apiserver-to-kubelet"]) {
        await cluster.pulumi("state", "delete", await urnOf(name), "--target-dependents", "--yes");
      }
      await cluster.up();
      assert.equal(await namespace(), before);
      await cluster.assertServiceAnswers();
      await cluster.assertNothingToDo();
    }));
});

describe("binaries from a folder", () => {
  const folder = () => join(cluster.instance.directory, "binaries");
  const cache = () => join(cluster.instance.directory, "cache");
  const blob = (sha256: string) => join(cache(), "blobs", sha256);
  const kubectl = { sha256: "", size: 0 };

  /** `up` with a cache of its own, so that damaging it harms nobody else. */
  async function upWithOwnCache(settings: object): Promise<{ code: number; output: string }> {
    await cluster.stack.configure({
      ...cluster.config,
      "plainkube:binaries": { source: "directory", directory: folder(), ...settings },
    });
    const { code, stdout, stderr } = await run(
      cluster.stack.command(["up", "--yes", "--skip-preview", "--non-interactive"]),
      {
        cwd: projectDirectory,
        env: { ...process.env, ...cluster.stack.environment, PLAINKUBE_CACHE: cache() },
      },
    );
    return { code, output: stdout + stderr };
  }

  before(async () => {
    const choices = clusterSchema.parse(
      Object.fromEntries(Object.entries(cluster.config).map(([key, value]) => [key.replace("plainkube:", ""), value])),
    );
    const log = (line: string) => console.error(`# ${line}`);
    const versions = supportedVersions[choices.versions.kubernetes] ?? assert.fail();
    const names = Object.values(stagesOf(choices)).flat();
    const settings = await resolveSource(choices.binaries, log);
    const { files, receiver } = await readyToSend(pinsFor(names, versions, "amd64", settings), settings, log);
    await mkdir(folder(), { recursive: true });
    await mkdir(join(cache(), "blobs"), { recursive: true });
    for (const [name, file] of [...files, ["plainkube-receive", receiver] as const]) {
      await link(file.path, join(folder(), name)).catch(() => copyFile(file.path, join(folder(), name)));
    }
    Object.assign(kubectl, files.get("kubectl"));
  });

  const removeFromHost = () => cluster.onHost("node2", `rm /opt/plainkube/store/${kubectl.sha256}`);

  test("with a wrong checksum are refused before anything is sent", () =>
    trial("faults", async () => {
      const earlier = await cluster.invocations();
      const { code, output } = await upWithOwnCache({ checksums: { kubectl: "0".repeat(64) } });
      assert.notEqual(code, 0);
      assert.ok(
        output.includes(
          `${join(folder(), "kubectl")}: wrong checksum: got sha256 ${kubectl.sha256}, expected ${"0".repeat(64)}; put the right file there, or correct plainkube:binaries.checksums.kubectl-amd64`,
        ),
        output,
      );
      assert.deepEqual(await cluster.restartedSince(earlier), []);
    }));

  test("that are damaged in the cache are found out by the host, and made anew", () =>
    trial("faults", async () => {
      // The same size, and the time that says it was verified: as by a bad disk.
      const content = await readFile(join(folder(), "kubectl"));
      content.writeUInt8((content.readUInt8(100_000) + 1) % 256, 100_000);
      await writeFile(blob(kubectl.sha256), content, { mode: 0o755 });
      const verified = new Date("2000-01-01T00:00:00Z");
      await utimes(blob(kubectl.sha256), verified, verified);
      await removeFromHost();
      const { code, output } = await upWithOwnCache({});
      assert.equal(code, 0, output);
      assert.match(
        output,
        new RegExp(`kubectl: \\S+ was damaged: got SHA-256 [0-9a-f]{64}, expected ${kubectl.sha256}`),
      );
      assert.equal(
        (await cluster.onHost("node2", "sha256sum </opt/plainkube/bin/kubectl")).slice(0, 64),
        kubectl.sha256,
      );
    }));

  test("that are truncated in the cache are made anew", () =>
    trial("faults", async () => {
      const verified = new Date("2000-01-01T00:00:00Z");
      await truncate(blob(kubectl.sha256), 1_000_000);
      await utimes(blob(kubectl.sha256), verified, verified);
      await removeFromHost();
      const { code, output } = await upWithOwnCache({ checksums: { kubectl: kubectl.sha256 } });
      assert.equal(code, 0, output);
      assert.equal((await stat(blob(kubectl.sha256))).size, kubectl.size);
      assert.equal(
        (await cluster.onHost("node2", "sha256sum </opt/plainkube/bin/kubectl")).slice(0, 64),
        kubectl.sha256,
      );
      await cluster.stack.configure(cluster.config);
      await cluster.up();
      await cluster.assertNothingToDo();
      await rm(cache(), { recursive: true });
    }));
});

const nodes = () => cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}");
const only = (...names: string[]) =>
  cluster.stack.configure({
    ...cluster.config,
    "plainkube:hosts": (cluster.config["plainkube:hosts"] as { name: string }[]).filter(({ name }) =>
      names.includes(name),
    ),
  });
const routes = () => cluster.onHost("node1", "ip route show proto 112");
const serviceAnswersOnNode1 = async (...of: string[]) => {
  const answers = await cluster.onHost(
    "node1",
    `for i in $(seq 40); do curl -sf --max-time 5 ${await cluster.proofUrl()}; echo; done`,
  );
  const found = new Set([...answers.matchAll(/"node":"([^"]+)"/g)].map((match) => match[1]));
  assert.deepEqual([...found].sort(), of);
};

describe("a worker that is taken out", () => {
  test("while it runs is drained, leaves the cluster, and is given back", async () => {
    await only("node1");
    await cluster.up();
    const evicted = await cluster.onHost("node1", `grep -c '"subresource":"eviction"' /var/log/plainkube/audit.log`);
    assert.ok(Number(evicted) > 0, "its pods were asked to go");
    assert.equal(await nodes(), "node1");
    assert.equal(await routes(), "");
    await serviceAnswersOnNode1("node1");
    await cluster.onHost("node2", "test ! -e /var/lib/plainkube && test ! -e /etc/plainkube");
    await cluster.up("--expect-no-changes");
  });

  test("and comes again is a node again", async () => {
    await only("node1", "node2");
    await cluster.up();
    await cluster.assertServiceAnswers();
  });

  test("because it is gone for ever does not hold up the rest", () =>
    trial("faults", async () => {
      await powerOff(cluster.instance, "node2");
      await only("node1");
      const before = await cluster.failingUp();
      assert.match(before, /node2-root-10\.90\.23\.42/);
      assert.match(before, /after 10 failed attempts: .*expected an SSH server at 10\.90\.23\.42:22 that lets root in/);
      assert.match(await forget("node2"), /Nothing is asked of node2 any more/);
      await cluster.up();
      assert.equal(await nodes(), "node1");
      assert.equal(await routes(), "");
      await serviceAnswersOnNode1("node1");
      await cluster.up("--expect-no-changes");
    }));

  test("and comes back after all is taken in again", async () => {
    await powerOn(cluster.instance, "node2");
    await only("node1", "node2");
    await cluster.up();
    await cluster.assertServiceAnswers();
    await cluster.up("--expect-no-changes");
  });
});

describe("a control plane that is gone for ever", () => {
  test("does not keep the other hosts from being given back", () =>
    trial("faults", async () => {
      await powerOff(cluster.instance, "node1");
      assert.match(await forget("node1"), /Nothing is asked of node1 any more/);
      const began = Date.now();
      await cluster.pulumi("destroy", "--yes");
      assert.ok(Date.now() - began < 60_000, `destroy took ${(Date.now() - began) / 1000} s`);
      const left = await runOnHost(
        cluster.instance,
        "node2",
        "ls -d /opt/plainkube/* /etc/plainkube /var/lib/plainkube 2>/dev/null",
      );
      assert.equal(left.stdout, "");
      assert.doesNotMatch(await cluster.pulumi("stack", "--show-urns"), /plainkube:host/);
    }));
});
