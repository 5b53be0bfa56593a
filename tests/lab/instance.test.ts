import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { withFlags } from "../../components/render.ts";
import {
  createInstance,
  destroyInstance,
  insideLan,
  type LabInstance,
  type LabOptions,
  listInstances,
  powerOff,
  powerOn,
  reboot,
  runOnHost,
} from "../../lab/instance.ts";
import { must, run } from "../../lab/shell.ts";
import { cacheRoot } from "../../toolchain/cache.ts";
import { waitForAlone } from "../e2e/harness.ts";

const HOSTS = [
  { name: "node1", address: "10.90.23.41" },
  { name: "node2", address: "10.90.23.42" },
];
// Names of their own for every run, so that runs beside each other on a machine do not meet.
const ID = randomBytes(3).toString("hex");
const FIRST = `t${ID}a`;
const SECOND = `t${ID}b`;

let directory: string;
const lines: string[] = [];

function options(name: string, more: Partial<LabOptions> = {}): LabOptions {
  const log = (line: string): void => {
    lines.push(line);
  };
  return { name, directory: join(directory, name), hosts: HOSTS, reachable: false, log, ...more };
}

async function output(instance: LabInstance, host: string, command: string): Promise<string> {
  const result = await runOnHost(instance, host, command, { timeoutSeconds: 60 });
  assert.equal(result.code, 0, `${host}: ${command}: ${result.stdout}${result.stderr}`);
  return result.stdout.trim();
}

/** Everything on the machine that bears the instance's name, by kind. */
async function traces(name: string) {
  const holds = (line: string): boolean => line.includes(`pk-${name}`) || line.includes(`/${name}`);
  const found = async (argv: string[]): Promise<string[]> => (await run(argv)).stdout.split("\n").filter(holds);
  const processes: string[] = [];
  for (const id of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
    const [state = "", ...text] = await Promise.all(
      ["stat", "cgroup", "cmdline", "mountinfo"].map((file) => readFile(`/proc/${id}/${file}`, "utf8").catch(() => "")),
    );
    // Dead ones that the machine's init has not collected yet (Z) do not count.
    if (!/\) Z /.test(state) && text.join().includes(`pk-${name}`)) processes.push(id);
  }
  return {
    namespaces: await found(["ip", "netns", "list"]),
    links: await found(["ip", "-brief", "link"]),
    mounts: (await readFile("/proc/self/mounts", "utf8")).split("\n").filter(holds),
    cgroups: await found(["find", "/sys/fs/cgroup", "-type", "d", "-name", `pk-${name}`]),
    processes: processes.filter((id) => id !== String(process.pid)),
    folders: await found(["find", join(cacheRoot(), "lab"), directory, "/run/plainkube-lab", "-maxdepth", "2"]),
  };
}

/** What the machine is like, but for what bears the name of an instance of somebody else. */
async function machine(): Promise<Record<string, string[]>> {
  const own = (line: string): boolean => !/pk-[a-z0-9-]+/.test(line.replaceAll(ID, ""));
  const kept = (text: string): string[] => text.split("\n").filter(own);
  return {
    namespaces: kept(await must(["ip", "netns", "list"])),
    links: kept(await must(["ip", "-oneline", "link"])),
    routes: kept(await must(["ip", "route"])),
    rules: kept(await must(["ip", "rule"])),
    cgroups: kept(await must(["find", "/sys/fs/cgroup", "-maxdepth", "3", "-type", "d", "-name", "pk-*"])),
    forwarding: kept(await must(["sh", "-c", "grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/*"])),
  };
}

const KERNEL_PANIC = "/proc/sys/kernel/panic";

describe("lab instances", { timeout: 600_000 }, () => {
  let first: LabInstance;
  let second: LabInstance;
  let machineBefore: Record<string, string[]>;
  let panicBefore: string;

  before(async () => {
    // It changes a kernel setting of the machine.
    await waitForAlone();
    directory = await mkdtemp(join(tmpdir(), "plainkube-lab-"));
    machineBefore = await machine();
    panicBefore = await readFile(KERNEL_PANIC, "utf8");
  });

  after(async () => {
    for (const name of [FIRST, SECOND]) await destroyInstance(name, join(directory, name), () => undefined);
    await rm(directory, { recursive: true, force: true });
  });

  test("bad options are all reported together, and nothing is made", async () => {
    const hosts = [...HOSTS, { name: "node1", address: "10.90.24.1" }, { name: "No_1", address: "10.90.23.254" }];
    await assert.rejects(createInstance(options("Too-long-a-name", { hosts })), (error: Error) => {
      for (const part of [
        "1 to 8",
        "name node1: given to more",
        "10.90.24.1: expected",
        '"No_1"',
        "are the network's own",
      ]) {
        assert.ok(error.message.includes(part), `${part} is not in: ${error.message}`);
      }
      return true;
    });
    assert.deepEqual(await readdir(directory), []);
  });

  test("two hosts run a complete systemd, each with an identity of its own", async () => {
    first = await createInstance(options(FIRST));
    const seen: string[][] = [];
    for (const { name } of HOSTS) {
      assert.equal(await output(first, name, "cat /proc/1/comm"), "systemd");
      const state = await runOnHost(first, name, "systemctl is-system-running --wait; systemctl --failed --no-legend");
      assert.equal(state.stdout.trim(), "running");
      assert.equal(await output(first, name, "hostname"), name);
      seen.push([
        await output(first, name, "cat /etc/machine-id"),
        await output(first, name, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key"),
      ]);
    }
    assert.notEqual(seen[0]?.[0], seen[1]?.[0]);
    assert.notEqual(seen[0]?.[1], seen[1]?.[1]);
    assert.ok((await listInstances()).some((i) => i.name === FIRST && i.running && i.hosts.length === 2));
  });

  test("host keys are pinned: one under the other's address is refused", async () => {
    const swapped = (await readFile(first.knownHostsFile, "utf8"))
      .replace("10.90.23.41", "X")
      .replace("10.90.23.42", "10.90.23.41")
      .replace("X", "10.90.23.42");
    const knownHostsFile = join(directory, "swapped");
    await writeFile(knownHostsFile, swapped);
    const result = await runOnHost({ ...first, knownHostsFile }, "node1", "true");
    assert.equal(result.code, 255);
    assert.match(result.stderr, /Host key verification failed/);
  });

  test("the other user has sudo without password; passwords are off, sshd's limits untouched", async () => {
    const id = await runOnHost(first, "node2", "id --user; sudo --non-interactive id --user", { user: "ops" });
    assert.equal(id.stdout, "1000\n0\n");
    const sshd = await output(first, "node1", "sshd -T");
    assert.match(sshd, /^passwordauthentication no$/m);
    assert.match(sshd, /^maxstartups 10:30:100$/m);
  });

  test("hosts reach each other, but nothing outside, not even the machine", async () => {
    const banner = (address: string): string => `timeout 3 bash -c 'head -c 7 </dev/tcp/${address}/22'`;
    assert.equal(await output(first, "node1", banner("10.90.23.42")), "SSH-2.0");
    assert.equal(await output(first, "node2", banner("10.90.23.41")), "SSH-2.0");
    assert.notEqual((await runOnHost(first, "node1", banner("10.90.23.77"))).code, 0);

    const server = createServer((_, response) => response.end("machine")).listen(0, "0.0.0.0");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const own = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .filter((a) => a.family === "IPv4" && !a.address.startsWith("10.90.23."));
    assert.ok(own.length > 0);
    try {
      for (const { address, internal } of own) {
        const url = `http://${address}:${port}/`;
        assert.equal(await (await fetch(url)).text(), "machine", "the probe itself works");
        if (internal) continue;
        assert.notEqual((await runOnHost(first, "node1", `curl --silent --max-time 2 ${url}`)).code, 0);
      }
    } finally {
      server.close();
    }
    // An address for documentation, routed nowhere: even a leak would disturb nobody.
    assert.notEqual((await runOnHost(first, "node1", "curl --silent --max-time 2 http://198.51.100.1/")).code, 0);
    const links = JSON.parse(await must([...insideLan(first), "ip", "-json", "link"])) as { ifname: string }[];
    assert.deepEqual(links.map((link) => link.ifname).sort(), ["host41", "host42", "lan0", "lo"]);
    assert.deepEqual((await traces(FIRST)).links, []);
    const forward = await must([...insideLan(first), "cat", "/proc/sys/net/ipv4/ip_forward"]);
    assert.equal(forward.trim(), "0");
  });

  test("a host can do what container runtimes and kube-proxy do, on its own network and cgroups", async () => {
    const steps = [
      "mkdir -p /var/lib/o/l /var/lib/o/u /var/lib/o/w /var/lib/o/m",
      "mount -t overlay o -o lowerdir=/var/lib/o/l,upperdir=/var/lib/o/u,workdir=/var/lib/o/w /var/lib/o/m",
      "umount /var/lib/o/m",
      'for c in $(findmnt -rno TARGET -t cgroup,cgroup2); do mkdir "$c/x"; rmdir "$c/x"; done',
      '[ "$(findmnt -no PROPAGATION /)" = shared ]',
      "iptables -t nat -A POSTROUTING -d 10.0.0.1 -j MASQUERADE; iptables -t nat -L POSTROUTING -n | grep -q MASQUERADE",
      "nft list tables; ipset create s hash:ip; conntrack -L",
      "sysctl -w net.ipv4.ip_forward=1",
      "ip link add vx0 type vxlan id 5 dstport 4789 dev eth0; ip link add br0 type bridge; ip link set vx0 master br0",
      "head -c 0 /dev/kmsg",
    ];
    await output(first, "node1", `set -eux; ${steps.join("; ")}`);
    assert.equal(await output(first, "node1", "ls /sys/class/net | xargs"), "br0 eth0 lo vx0");
    assert.equal(await output(first, "node2", "ls /sys/class/net | xargs"), "eth0 lo");
    assert.equal(await output(first, "node2", "sysctl -n net.ipv4.ip_forward"), "0");
  });

  test("a second create is quick and changes nothing", async () => {
    const { knownHostsFile, privateKeyFile } = first;
    const state = async (): Promise<unknown> => [
      await Promise.all([knownHostsFile, privateKeyFile].map(async (file) => (await stat(file)).mtimeMs)),
      await Promise.all(
        HOSTS.map(({ name }) => output(first, name, "cat /proc/sys/kernel/random/boot_id; ls /sys/class/net")),
      ),
    ];
    const earlier = await state();
    lines.length = 0;
    const started = Date.now();
    assert.deepEqual(await createInstance(options(FIRST)), first);
    // On an idle machine it takes 0.4 s.
    assert.ok(Date.now() - started < 3000, `took ${Date.now() - started} ms`);
    assert.deepEqual(lines, []);
    assert.deepEqual(await state(), earlier);
  });

  test("another folder's instance of the same name is left alone", async () => {
    const other = options(FIRST, { directory: join(directory, "other") });
    await assert.rejects(createInstance(other), /belongs to/);
    await assert.rejects(destroyInstance(FIRST, other.directory, other.log), /belongs to/);
    await output(first, "node1", "true");
  });

  test("power off and on: the disk stays, processes, links and rules go", async () => {
    const link = "cat /sys/class/net/eth0/address";
    const mac = await output(first, "node1", link);
    const gateway = async (): Promise<string> => {
      const [bridge] = JSON.parse(await must([...insideLan(first), "ip", "-json", "link", "show", "lan0"]));
      return bridge.address;
    };
    assert.equal(await gateway(), "02:00:0a:5a:17:01");
    await output(first, "node1", "echo kept | tee /root/file /var/lib/file; sleep 4711 >/dev/null 2>&1 &");
    await powerOff(first, "node1");
    assert.equal((await runOnHost(first, "node1", "true")).code, 255);
    assert.equal(await gateway(), "02:00:0a:5a:17:01", "with another one, open connections would stand still");
    await output(first, "node2", "true");
    await powerOn(first, "node1");
    assert.equal(await output(first, "node1", "cat /root/file /var/lib/file | xargs"), "kept kept");
    assert.equal(await output(first, "node1", link), mac, "with another one, peers would not reach it for a while");
    assert.equal(await output(first, "node1", "pgrep --exact sleep || true"), "");
    assert.equal(await output(first, "node1", "ls /sys/class/net | xargs"), "eth0 lo");
    assert.doesNotMatch(await output(first, "node1", "nft list ruleset"), /masquerade/i);
  });

  test("reboot: a new boot, with a network and cgroups like new", async () => {
    const boot = (): Promise<string> => output(first, "node2", "cat /proc/sys/kernel/random/boot_id");
    const earlier = await boot();
    await output(first, "node2", "ip link add br0 type bridge; touch /root/file");
    const cgroups = "findmnt -rno TARGET -t cgroup,cgroup2";
    await output(first, "node2", `for c in $(${cgroups}); do mkdir $c/kubepods; done; ls -d /sys/fs/cgroup/*/kubepods`);
    await reboot(first, "node2");
    assert.notEqual(await boot(), earlier);
    assert.equal(await output(first, "node2", "ls /sys/class/net | xargs; ls /root"), "eth0 lo\nfile");
    assert.equal(await output(first, "node2", "find /sys/fs/cgroup -name kubepods"), "");
  });

  test("a half-made instance is completed", async () => {
    await must(["ip", "netns", "delete", `pk-${FIRST}-lan`]);
    await rm(first.privateKeyFile);
    first = await createInstance(options(FIRST));
    for (const { name } of HOSTS) assert.equal(await output(first, name, "hostname"), name);
    assert.equal(await output(first, "node1", "cat /root/file"), "kept");
  });

  test("a host that is not listed any more is removed, a new one added, the other left alone", async () => {
    const boot = (): Promise<string> => output(first, "node1", "cat /proc/sys/kernel/random/boot_id");
    const earlier = await boot();
    const [node1 = { name: "", address: "" }] = HOSTS;
    first = await createInstance(options(FIRST, { hosts: [node1, { name: "node3", address: "10.90.23.43" }] }));
    assert.equal(await output(first, "node3", "hostname"), "node3");
    assert.equal(await boot(), earlier);
    assert.notEqual((await runOnHost(first, "node1", "timeout 3 bash -c '</dev/tcp/10.90.23.42/22'")).code, 0);
  });

  test("a second instance lives beside the first, with the same addresses", async () => {
    second = await createInstance(options(SECOND));
    const id = (instance: LabInstance): Promise<string> => output(instance, "node1", "cat /etc/machine-id");
    assert.notEqual(await id(first), await id(second));
    await powerOff(first, "node1");
    await output(second, "node1", "true");
    await powerOn(first, "node1");
  });

  test("a reachable instance: the machine gets in, nothing gets through; refused where the network is taken", async () => {
    // In a network namespace that plays the machine's, so that a lab left running is not in the way.
    const program = `
      import { createInstance } from ${JSON.stringify(join(import.meta.dirname, "../../lab/instance.ts"))};
      await createInstance({ ...${JSON.stringify(options(SECOND, { reachable: true }))}, log() {} });`;
    const node = `'${process.execPath}' --input-type=module -e '${program}'`;
    const inMachine = (script: string) => run(["unshare", "--net", "bash", "-euc", script]);
    const taken = await inMachine(`ip link add br9 type bridge; ip address add 10.90.23.9/24 dev br9; ${node}`);
    assert.notEqual(taken.code, 0);
    assert.match(taken.stderr, /address 10\.90\.23\.9 on br9/);
    const result = await inMachine(`
      echo 1 >/proc/sys/net/ipv4/ip_forward
      ${node}
      cat /proc/sys/net/ipv4/conf/pk-${SECOND}/forwarding
      head -c 7 </dev/tcp/10.90.23.41/22
      ip -brief address show dev pk-${SECOND}`);
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /^0\nSSH-2\.0pk-\S+ +UP +10\.90\.23\.254\/24 *\n$/);
    second = await createInstance(options(SECOND));
    assert.equal(second.reachable, false);
  });

  test("systemd hands over a unit's arguments as they were meant", async () => {
    const words = [
      "%n %h %%",
      `$HOME \${HOME} $$`,
      "a b",
      'a "b" c',
      "it's",
      "a\\b \\n \\x41 \\",
      "",
      "; reboot",
      "*",
      "~",
      "# a",
      "ä 🚀",
    ];
    const unit = withFlags(
      "[Service]\nType=oneshot\nExecStart=/usr/bin/printf %%s\\\\0\nStandardOutput=file:/run/words\n",
      Object.fromEntries(words.map((word, i) => [`w${i}`, word])),
    );
    const file = Buffer.from(unit).toString("base64");
    await output(
      first,
      "node1",
      `echo ${file} | base64 -d >/run/systemd/system/words.service; systemctl daemon-reload; systemctl start words`,
    );
    const taken = await output(first, "node1", "base64 -w0 /run/words");
    assert.deepEqual(
      Buffer.from(taken, "base64").toString().split("\0").slice(0, -1),
      words.map((word, i) => `--w${i}=${word}`),
    );
  });

  test("destroy leaves no trace, with and without the notes of what there was", async () => {
    for (const name of [FIRST, SECOND]) {
      const { links, ...there } = await traces(name);
      for (const [kind, found] of Object.entries(there)) assert.notDeepEqual(found, [], `${kind} of ${name} are seen`);
      assert.deepEqual(links, []);
    }
    await output(first, "node1", "echo 4711 >/proc/sys/kernel/panic");
    assert.equal((await readFile(KERNEL_PANIC, "utf8")).trim(), "4711");

    await destroyInstance(FIRST, first.directory, () => undefined);
    await output(second, "node2", "true");
    await rm(`/run/plainkube-lab/instances/${SECOND}.json`);
    await rm(second.directory, { recursive: true });
    await destroyInstance(SECOND, second.directory, () => undefined);
    for (const name of [FIRST, SECOND]) {
      for (const [kind, found] of Object.entries(await traces(name))) assert.deepEqual(found, [], `${kind} of ${name}`);
    }
    assert.deepEqual(await machine(), machineBefore);
    // With instances of somebody else around, kernel settings are theirs too.
    if ((await listInstances()).length === 0) assert.equal(await readFile(KERNEL_PANIC, "utf8"), panicBefore);
    else await writeFile(KERNEL_PANIC, panicBefore);
    await destroyInstance(FIRST, first.directory, () => undefined);
  });
});
