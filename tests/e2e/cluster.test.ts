import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { between, type Traffic, trafficOf } from "../../bench/traffic.ts";
import { insideLan, runOnHost } from "../../lab/instance.ts";
import { must, run } from "../../lab/shell.ts";
import { projectDirectory, stackConfig } from "../../lab/stack.ts";
import { blobPath } from "../../toolchain/cache.ts";
import { TestCluster } from "./harness.ts";
import { ProcessWatch } from "./secrets.ts";
import { securityTests } from "./security.ts";

/**
 * The main job from end to end on an instance of the lab of its own: real hosts, real binaries, the real engine. The tests
 * follow each other; each takes the cluster as the one before left it.
 */

const hostNames = ["node1", "node2"];
const watch = new ProcessWatch();
let cluster: TestCluster;
let traffic: Traffic | undefined;

before(async () => {
  cluster = await TestCluster.make({ label: "e2e", config: await stackConfig("dev") });
});

after(async () => {
  watch.stop();
  await cluster.remove();
});

describe("the first up", () => {
  test("makes a cluster from bare hosts", async () => {
    const start = await trafficOf(cluster.instance);
    const output = await cluster.up();
    assert.match(output, /created/);
    traffic = between(start, await trafficOf(cluster.instance));
  });

  test("dials each host a handful of times", () => {
    // Fewer than there are commands where one takes over the connection of another.
    const { node1 = 0, node2 = 0 } = traffic?.connections ?? {};
    assert.ok(node1 > 0 && node1 <= 10, `node1: ${node1}`);
    assert.ok(node2 > 0 && node2 <= 8, `node2: ${node2}`);
  });

  test("sends each binary once to each host, and hardly anything else", async () => {
    const stored = await Promise.all(hostNames.map((host) => cluster.onHost(host, "ls /opt/plainkube/store")));
    const contents = stored.flatMap((names) => names.trimEnd().split("\n"));
    const sizes = await Promise.all(contents.map(async (sha256) => (await stat(`${blobPath(sha256)}.zst`)).size));
    const compressed = sizes.reduce((sum, size) => sum + size, 0);
    const { sentBytes = 0 } = traffic ?? {};
    // Headers of packets, keys and configuration; with each of five uploads a megabyte, the program that takes it.
    assert.ok(contents.length > 20 && sentBytes > compressed, `${sentBytes} bytes for ${compressed}`);
    assert.ok(sentBytes < compressed * 1.04 + 10_000_000, `${sentBytes} bytes for ${compressed}`);
  });

  test("leaves every unit active and enabled", async () => {
    for (const host of hostNames) {
      for (const unit of cluster.units[host] ?? []) {
        const state = await cluster.onHost(
          host,
          `systemctl is-active ${unit}.service; systemctl is-enabled ${unit}.service`,
        );
        assert.equal(state, "active\nenabled\n", `${unit} on ${host}`);
      }
    }
  });

  test("makes both nodes Ready with the pinned version", async () => {
    const nodes = await cluster.kubectl(
      "get",
      "nodes",
      "-o",
      'jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.kubeletVersion}{"\\n"}{end}',
    );
    assert.equal(nodes, "node1 True v1.36.3\nnode2 True v1.36.3\n");
  });

  test("spreads the four replicas over both hosts, all ready", async () => {
    const pods = await cluster.proofPods(".spec.nodeName");
    assert.deepEqual(pods.sort(), ["node1", "node1", "node2", "node2"]);
    await cluster.kubectl(
      "wait",
      "-n",
      "plainkube-proof",
      "--for=condition=Available",
      "deployment/proof",
      "--timeout=60s",
    );
  });

  test("makes the Service answer from each host with pods of both", async () => {
    await cluster.assertServiceAnswers();
  });

  test("resolves the Service's name in a pod", async () => {
    const answer = JSON.parse(await cluster.onHost("node2", `curl -sf --max-time 10 ${await cluster.proofUrl()}/peer`));
    assert.equal(answer.url, "http://proof.plainkube-proof.svc.cluster.local");
    assert.ok(answer.peer.pod, "the pod that answered by name");
  });

  test("lets kubectl read logs through both kubelets", async () => {
    const pods = await cluster.proofPods(".metadata.name");
    for (const pod of pods) {
      assert.notEqual(await cluster.kubectl("logs", "-n", "plainkube-proof", pod), "", `logs of ${pod}`);
    }
  });

  test("refuses anonymous requests but for health checks", async () => {
    const status = (path: string) =>
      cluster.onHost("node2", `curl -sk -o /dev/null -w '%{http_code}' https://10.90.23.41:6443${path}`);
    assert.equal(await status("/readyz"), "200");
    assert.equal(await status("/api/v1/namespaces"), "401");
    assert.equal(
      await cluster.onHost("node1", "curl -sk -o /dev/null -w '%{http_code}' https://10.90.23.42:10250/pods"),
      "401",
    );
  });

  test("gives outputs, the kubeconfig as a secret", async () => {
    const outputs = JSON.parse(await cluster.pulumi("stack", "output", "--json"));
    assert.equal(outputs.kubeconfig, "[secret]");
    assert.equal(outputs.apiEndpoint, "https://10.90.23.41:6443");
    assert.equal(outputs.versions.kubernetes, "1.36.3");
    assert.deepEqual(Object.keys(outputs.serviceAnswers).sort(), hostNames);
    assert.ok(Date.parse(outputs.certificateExpiry) > Date.now());
  });
});

describe("what the API server writes down", () => {
  test("is who changed what, for root alone, without bodies and without reads", async () => {
    const log = "/var/log/plainkube/audit.log";
    assert.equal(await cluster.onHost("node1", `stat -c '%a %U' ${log}`), "600 root\n");
    const lines = (await cluster.onHost("node1", `cat ${log}`)).trim().split("\n");
    const events = lines.map((line) => JSON.parse(line));
    // By server-side apply.
    const made = events.find(
      ({ verb, objectRef: o }) => verb === "patch" && o?.resource === "deployments" && o.name === "proof",
    );
    assert.deepEqual([made?.user.username, made?.responseStatus.code], ["kubernetes-admin", 201]);
    assert.deepEqual([...new Set(events.map((e) => e.level))], ["Metadata"]);
    const reads = events.filter((e) => ["get", "list", "watch"].includes(e.verb) && e.objectRef?.resource === "pods");
    assert.deepEqual([...new Set(reads.map((e) => e.objectRef.subresource))], [], "pods are looked at, too");
  });

  test("is encrypted where it is a Secret", async () => {
    const value = `seen-${"0123456789".repeat(3)}`;
    const stored = () => runOnHost(cluster.instance, "node1", `grep -rqaF ${value} /var/lib/plainkube/etcd`);
    await cluster.kubectl("create", "secret", "generic", "hidden", `--from-literal=a=${value}`);
    assert.equal((await stored()).code, 1);
    await cluster.kubectl("create", "configmap", "seen", `--from-literal=a=${value}`);
    assert.equal((await stored()).code, 0);
  });
});

describe("secrets", () => {
  test("are encrypted in the state", async () => {
    const state = await readFile(join(cluster.instance.directory, "state/.pulumi/stacks/plainkube/dev.json"), "utf8");
    assert.match(state, /ciphertext/);
    const begin = "-----BEGIN ";
    const key = await readFile(cluster.instance.privateKeyFile, "utf8");
    const hidden = [
      "PRIVATE KEY",
      // Three alignments of base64 hold the same text in three ways.
      ...["", "x", "xx"].map((pad) => Buffer.from(`${pad}PRIVATE KEY-----`).toString("base64").slice(4, -4)),
      key.split("\n")[2] ?? begin,
    ];
    for (const text of hidden) assert.ok(!state.includes(text), `the state holds ${text}`);
  });

  test("lie in files of root alone", async () => {
    for (const host of hostNames) {
      const open = await cluster.onHost(
        host,
        "grep -rlIE 'PRIVATE KEY|client-key-data' /etc /opt /var/lib/plainkube 2>/dev/null | grep -v '^/etc/ssh/' | xargs -r stat -c '%a %U %n' | grep -v '^600 root ' || :",
      );
      assert.equal(open, "", `readable keys on ${host}`);
    }
  });
});

describe("without a change", () => {
  test("a preview without any network shows none", async () => {
    const offline = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];
    const command = cluster.stack
      .command(["preview", "--expect-no-changes", "--non-interactive"])
      .slice(insideLan(cluster.instance).length);
    const result = await run([...offline, ...command], {
      cwd: projectDirectory,
      env: { ...process.env, ...cluster.stack.environment },
    });
    assert.equal(result.code, 0, result.stdout + result.stderr);
  });

  test("a second up changes and restarts nothing", async () => {
    await cluster.assertNothingToDo();
  });

  test("a second up opens no connection, and an upload sends nothing that is there", async () => {
    const start = await trafficOf(cluster.instance);
    await cluster.up();
    const idle = await trafficOf(cluster.instance);
    assert.deepEqual(between(start, idle).connections, { node1: 0, node2: 0 });
    const output = await cluster.up("--replace", "**::node2-binaries-*");
    assert.match(output, /11 in place, 0 sent/);
    assert.match(output, /3 in place, 0 sent/);
    const again = between(idle, await trafficOf(cluster.instance));
    assert.deepEqual(again.connections, { node1: 0, node2: 2 });
    assert.ok(again.sentBytes < 1_000_000, `${again.sentBytes} bytes`);
  });
});

describe("one changed flag", () => {
  test("shows its unit and host in the preview, and restarts that unit alone", async () => {
    await cluster.stack.configure({ ...cluster.config, "plainkube:overrides": { kubeScheduler: { flags: { v: 3 } } } });
    const preview = await cluster.pulumi("preview", "--diff");
    assert.match(preview, /node1-kube-scheduler\.service/);
    assert.match(preview, /\+ +--v=3/);
    // The unit, the shipment, and the shipment's attempt number.
    assert.match(preview, /~ 2 to update\s+\+-1 to replace\s+3 changes/);
    assert.match(preview, /RandomId::node1-control-plane-controllers-attempt/);

    const earlier = await cluster.invocations();
    await cluster.up();
    assert.deepEqual(await cluster.restartedSince(earlier), ["node1 kube-scheduler"]);
    assert.match(await cluster.onHost("node1", "tr '\\0' ' ' </proc/$(pidof kube-scheduler)/cmdline"), / --v=3 /);
  });

  test("goes away again, on one host's kubelet too", async () => {
    const labelled = structuredClone(cluster.config["plainkube:hosts"]) as Record<string, unknown>[];
    Object.assign(labelled[1] ?? {}, { labels: { "example.com/rack": "b" } });
    await cluster.stack.configure({ ...cluster.config, "plainkube:hosts": labelled });
    const earlier = await cluster.invocations();
    await cluster.up();
    assert.deepEqual(await cluster.restartedSince(earlier), ["node1 kube-scheduler", "node2 kubelet"]);
    assert.match(
      await cluster.onHost("node2", "tr '\\0' ' ' </proc/$(pidof kubelet)/cmdline"),
      / --node-labels=example\.com\/rack=b /,
    );
  });
});

describe("a change that fails", () => {
  test("says which unit and why, and is undone by undoing it", async () => {
    const scheduler = (flags: object) =>
      cluster.stack.configure({ ...cluster.config, "plainkube:overrides": { kubeScheduler: { flags } } });
    const earlier = await cluster.invocations();
    await scheduler({ "no-such-flag": true });
    assert.match(await cluster.failingUp(), /kube-scheduler 1\.36\.3 does not know\s+got: +--no-such-flag/);
    assert.deepEqual(await cluster.restartedSince(earlier), []);
    await scheduler({ "feature-gates": "NoSuchGate=true" });
    const output = await cluster.failingUp();
    assert.match(output, /kube-scheduler\.service on node1 fails again and again/);
    assert.match(output, /unrecognized feature gate: NoSuchGate/);
    await cluster.stack.configure(cluster.config);
    await cluster.up();
    assert.equal(await cluster.onHost("node1", "systemctl is-active kube-scheduler.service"), "active\n");
    await cluster.up("--expect-no-changes");
  });
});

describe("an up without a way in", () => {
  test("says so, and what it said is searched for secrets below", async () => {
    const config = cluster.config["plainkube:ssh"] as object;
    const hosts = (cluster.config["plainkube:hosts"] as object[]).map((host) => ({ ...host, user: "nobody" }));
    await cluster.stack.configure({
      ...cluster.config,
      "plainkube:hosts": hosts,
      "plainkube:ssh": { ...config, dialAttempts: 1 },
    });
    assert.match(await cluster.failingUp(), /unable to authenticate/);
    await cluster.stack.configure(cluster.config);
    await cluster.up();
  });
});

securityTests(() => cluster, watch);

describe("a wrong configuration", () => {
  test("is refused as a whole before anything is touched", async () => {
    const earlier = await cluster.invocations();
    await cluster.stack.configure({
      ...cluster.config,
      "plainkube:netwrok": { podCidr: "10.0.0.0/8" },
      "plainkube:network": { podCidr: "10.96.0.0/16", serviceCidr: "10.96.0.0/16" },
      "plainkube:versions": { kubernetes: "1.2.3" },
      "plainkube:hosts": [
        { name: "node1", address: "10.90.23.41", roles: ["worker"] },
        { name: "node2", address: "10.90.23.41", roles: ["worker"], prot: 22 },
      ],
    });
    const output = await cluster.failingUp();
    for (const problem of [
      /netwrok is not a setting/,
      /did you mean network/,
      /overlap/,
      /1\.2\.3/,
      /no control plane/,
      /10\.90\.23\.41 twice/,
      /prot is not/,
      /did you mean port/,
    ]) {
      assert.match(output, problem);
    }
    assert.doesNotMatch(output, /\.ts:\d+/, "an error of the configuration needs no stack trace");
    await cluster.stack.configure(cluster.config);
    assert.deepEqual(await cluster.restartedSince(earlier), []);
  });
});

describe("another way in", () => {
  test("works: a user with sudo, through a jump host, with the keys of an agent", async () => {
    const socket = join(cluster.instance.directory, "agent");
    const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
    try {
      for (let i = 0; i < 50 && (await run(["test", "-S", socket])).code !== 0; i++)
        await new Promise((r) => setTimeout(r, 100));
      await must(["ssh-add", "-q", cluster.instance.privateKeyFile], {
        env: { ...process.env, SSH_AUTH_SOCK: socket },
      });
      process.env.SSH_AUTH_SOCK = socket;
      const hosts = (cluster.config["plainkube:hosts"] as Record<string, unknown>[]).map((h) => ({
        ...h,
        user: "ops",
      }));
      await cluster.stack.configure({
        ...cluster.config,
        "plainkube:hosts": hosts,
        "plainkube:ssh": {
          knownHostsFile: `.lab/${cluster.instance.name}/known_hosts`,
          jump: { address: "10.90.23.42", user: "ops" },
        },
        "plainkube:overrides": { kubeProxy: { flags: { v: 1 } } },
      });
      const earlier = await cluster.invocations();
      await cluster.up();
      assert.deepEqual((await cluster.restartedSince(earlier)).sort(), ["node1 kube-proxy", "node2 kube-proxy"]);
      const through = await cluster.onHost(
        "node1",
        "journalctl --no-pager -u ssh | grep -c 'Accepted publickey for ops from 10.90.23.42'",
      );
      assert.ok(Number(through) > 3, `node1 was reached through node2: ${through}`);
      await cluster.up("--expect-no-changes");
      assert.match(await cluster.pulumi("destroy", "--yes"), /deleted/);
    } finally {
      delete process.env.SSH_AUTH_SOCK;
      agent.kill();
    }
  });
});

describe("destroy", () => {
  test("leaves the hosts as they were", () => cluster.assertGivenBack());

  test("leaves an empty stack", async () => {
    assert.equal((await cluster.pulumi("stack", "--show-urns")).match(/plainkube:host/), null);
  });
});
