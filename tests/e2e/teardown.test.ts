import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { run, sleep } from "../../lab/shell.ts";
import { projectDirectory, stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "./harness.ts";
import { makeHarbour, Others } from "./others.ts";

/**
 * Hosts that carry things of somebody else's are given back fact by fact: after an upgrade of the program and the loss of a role, and
 * after an `up` that was killed half-way. The tests follow each other.
 */

const hosts = (first: readonly string[]) => [
  { name: "node1", address: "10.90.23.41", roles: first },
  { name: "node2", address: "10.90.23.42", roles: ["worker"] },
];
let cluster: TestCluster;
let others: Others;

before(async () => {
  cluster = await TestCluster.make({
    label: "tdn",
    config: { ...(await stackConfig("dev")), "plainkube:hosts": hosts(["control-plane", "worker"]) },
  });
  others = await Others.settle(cluster, "iptables");
  await cluster.record();
});

after(() => cluster.remove());

const olderUnit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

/** A copy of the program that ships a file and a unit more, and another unit text: as an older revision may have. */
async function olderProgram(): Promise<string> {
  const folder = join(cluster.instance.directory, "older");
  await mkdir(folder);
  for (const part of ["components", "toolchain", "lab", "index.ts", "Pulumi.yaml", "package.json", "tsconfig.json"])
    await cp(join(projectDirectory, part), join(folder, part), { recursive: true });
  for (const part of ["node_modules", ".lab"]) await symlink(join(projectDirectory, part), join(folder, part));
  const change = async (file: string, from: string, to: string) => {
    const path = join(folder, "components/network", file);
    const text = await readFile(path, "utf8");
    assert.equal(text.split(from).length, 2, `${file} has once: ${from}`);
    await writeFile(path, text.replace(from, to));
  };
  await change("plainkube-routes.service", "TimeoutStopSec=5", "TimeoutStopSec=6");
  await change(
    "render.ts",
    '      ...scripts,\n    ],\n    units: [\n      {\n        name: "plainkube-routes.service"',
    `      ...scripts,
      { path: "/etc/plainkube/older.conf", content: "older\\n" },
      { path: "/etc/systemd/system/plainkube-older.service", content: ${JSON.stringify(olderUnit)} },
    ],
    units: [
      { name: "plainkube-older.service", inputs: ["/etc/plainkube/older.conf"] },
      {
        name: "plainkube-routes.service"`,
  );
  return folder;
}

describe("an older revision of the program", () => {
  test("makes a cluster beside what others have there", async () => {
    const cwd = await olderProgram();
    const result = await run(cluster.stack.command(["up", "--yes", "--skip-preview", "--non-interactive"]), {
      cwd,
      env: { ...process.env, ...cluster.stack.environment },
    });
    assert.equal(result.code, 0, result.stdout + result.stderr);
    await others.assertWork();
    for (const host of cluster.hosts)
      assert.equal(await cluster.onHost(host, "systemctl is-active plainkube-older.service"), "active\n");
  });
});

describe("the present program", () => {
  test("takes over, and a host that is no worker any more keeps nothing of one", async () => {
    await cluster.kubectl("drain", "node1", "--ignore-daemonsets", "--delete-emptydir-data", "--force");
    await makeHarbour(cluster, "node1");
    await cluster.stack.configure({ ...cluster.config, "plainkube:hosts": hosts(["control-plane"]) });
    await cluster.up();
    await others.assertWork();
    for (const host of cluster.hosts) {
      const old = "ls /etc/plainkube/older.conf /etc/systemd/system/plainkube-older.service 2>/dev/null || :";
      assert.equal(await cluster.onHost(host, old), "", `files of the older revision on ${host}`);
    }
    const left = await cluster.onHost(
      "node1",
      `pgrep -af '[s]him-runc-v2 .*/run/plainkube/' || :
       find /sys/fs/cgroup -type d -path '*/kubepods*'
       ip -o link | grep -E 'plainkube0|master plainkube0' || :
       awk '$2 ~ "^/(var/lib/kubelet|run/plainkube)/" { print $2 }' /proc/self/mounts
       iptables-save 2>/dev/null | grep -E 'name: ."plainkube|18080' || :
       ls -A /run/netns | grep -v '^other$' || :`,
    );
    assert.equal(left, "", "what a worker has");
  });

  test("gives the hosts back as they were, but for what was changed after it came", async () => {
    const limit = "net.netfilter.nf_conntrack_tcp_timeout_established";
    await cluster.onHost("node2", `sysctl --quiet --write ${limit}=3600`);
    await cluster.pulumi("destroy", "--yes");
    assert.equal(await cluster.onHost("node2", `sysctl -n ${limit}`), "3600\n", "a setting that it did not change");
    await cluster.onHost("node2", `sysctl --quiet --write ${limit}=7200`);
    await cluster.assertAsRecorded();
    await others.assertWork();
  });
});

describe("an up that was killed half-way", () => {
  test("is given back, too, by a destroy right after it", async () => {
    await cluster.stack.configure(cluster.config);
    const [program = "", ...args] = cluster.stack.command(["up", "--yes", "--skip-preview", "--non-interactive"]);
    const child = spawn(program, args, {
      cwd: projectDirectory,
      env: { ...process.env, ...cluster.stack.environment },
      stdio: "ignore",
      detached: true,
    });
    const ended = once(child, "close");
    // In the middle of it: the first pods are being made.
    const begun = "ls /var/lib/cni/results/plainkube-* 2>/dev/null || :";
    for (const deadline = Date.now() + 90_000; (await cluster.onHost("node2", begun)) === ""; await sleep(100))
      assert.ok(Date.now() < deadline && child.exitCode === null, "no pod came to node2");
    process.kill(-(child.pid ?? 0), "SIGKILL");
    await ended;
    await cluster.pulumi("cancel", "--yes");
    await cluster.assertGivenBack();
    await others.assertWork();
  });

  test("and a second destroy finds nothing to do", async () => {
    await cluster.assertGivenBack();
  });
});
