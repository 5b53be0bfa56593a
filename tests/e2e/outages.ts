import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { imageRefs } from "../../components/images.ts";
import { supportedVersions } from "../../components/versions.ts";
import { insideLan, powerOff, powerOn, reboot, runOnHost } from "../../lab/instance.ts";
import { must, run, sleep } from "../../lab/shell.ts";
import { projectDirectory } from "../../lab/stack.ts";
import { trial } from "../figures.ts";
import { isLongRun, type TestCluster } from "./harness.ts";

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** What a stream of requests has seen on one host. */
interface Seen {
  readonly asked: number;
  readonly failed: number;
  /** When requests failed: seconds since the first of all, and how. */
  readonly failures: readonly string[];
  /** Seconds from the first to the last failed request. */
  readonly span: number;
}

/** Requests to the Service of the proof from hosts, twenty a second each, every one on a connection of its own. */
export class Stream {
  readonly #cluster: TestCluster;
  readonly #hosts: readonly string[];
  #began = performance.now();
  #from = new Map<string, number>();

  private constructor(cluster: TestCluster, hosts: readonly string[]) {
    this.#cluster = cluster;
    this.#hosts = hosts;
  }

  static async start(cluster: TestCluster, hosts: readonly string[] = cluster.hosts): Promise<Stream> {
    // By the unbuffered standard error, so that each line is there at once.
    const asks = `curl --silent --output /dev/null --rate 20/s --max-time 1 --header 'Connection: close' --write-out '%{stderr}%{exitcode} %{http_code} %{time_total}\\n' '${await cluster.proofUrl()}/?[1-1000000]'`;
    const runs = `systemd-run --quiet --collect --unit=stream --property=StandardError=truncate:/run/stream ${asks}`;
    await Promise.all(hosts.map((host) => cluster.onHost(host, runs)));
    const stream = new Stream(cluster, hosts);
    await stream.mark();
    return stream;
  }

  /** Forgets what was seen until now. */
  async mark(): Promise<void> {
    await this.#lines();
    this.#began = performance.now();
  }

  /** What was seen since the last mark, a line for people to read; fails where a host has hardly asked. */
  async seen(): Promise<{
    readonly failed: number;
    readonly span: number;
    readonly failures: readonly string[];
    readonly text: string;
  }> {
    const waited = (performance.now() - this.#began) / 1000;
    const all = [...(await this.#lines())].map(([host, lines]) => [host, judge(lines)] as const);
    for (const [host, { asked, span }] of all)
      assert.ok(asked > 5 * (waited - span - 1), `${host} asked only ${asked} times in ${waited.toFixed(1)} s`);
    const sum = (of: "asked" | "failed") => all.reduce((total, [, seen]) => total + seen[of], 0);
    return {
      failed: sum("failed"),
      failures: all.flatMap(([, seen]) => seen.failures),
      span: Math.max(...all.map(([, seen]) => seen.span)),
      text: all.map(([host, { asked, failed }]) => `${host}: ${failed} of ${asked} requests failed`).join(", "),
    };
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#hosts.map((host) => this.#cluster.onHost(host, "systemctl stop stream; rm -f /run/stream")),
    );
  }

  /** Host → the lines since the last call. */
  async #lines(): Promise<Map<string, string[]>> {
    const found = await Promise.all(
      this.#hosts.map(async (host): Promise<[string, string[]]> => {
        const from = this.#from.get(host) ?? 0;
        // The last line may be half there.
        const text = await this.#cluster.onHost(host, `tail -n +${from + 1} /run/stream`);
        const lines = text.split("\n").slice(0, -1);
        this.#from.set(host, from + lines.length);
        return [host, lines];
      }),
    );
    return new Map(found);
  }
}

/** Requests follow each other, so that their times add up to when each was. */
function judge(lines: readonly string[]): Seen {
  let now = 0;
  const bad: number[] = [];
  const failures: string[] = [];
  for (const line of lines) {
    const [exit, status, took] = line.split(" ");
    if (exit !== "0" || status !== "200") {
      bad.push(now);
      failures.push(`${now.toFixed(0)}: ${exit} ${status}`);
    }
    now += Math.max(0.05, Number(took));
  }
  return { asked: lines.length, failed: bad.length, failures, span: (bad.at(-1) ?? 0) - (bad[0] ?? 0) };
}

/** Asks the API until it answers as expected. */
async function eventually(what: string, within: number, ask: () => Promise<boolean>): Promise<string> {
  const began = performance.now();
  while (!(await ask())) {
    assert.ok(performance.now() - began < within * 1000, `${what}: not within ${within} s`);
    await sleep(200);
  }
  return seconds(began);
}

const [newest] = Object.values(supportedVersions);
assert.ok(newest);

/** Label of a node with its name. */
const hostname = "kubernetes.io/hostname";

/** A Deployment of one pod, placed by fields of its spec, and its Service. */
const workload = (name: string, placing: object): readonly object[] => {
  const image = imageRefs(newest).workload;
  const labels = { app: name };
  return [
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name },
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            ...placing,
            terminationGracePeriodSeconds: 1,
            containers: [
              {
                name: "workload",
                image,
                readinessProbe: { httpGet: { path: "/healthz", port: 8080 }, periodSeconds: 1 },
              },
            ],
          },
        },
      },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name },
      spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
    },
  ];
};

/** A cluster that works and goes through outages; each test leaves it working. */
export class Patient {
  readonly cluster: TestCluster;
  readonly #kubectl: readonly string[];

  private constructor(cluster: TestCluster, kubectl: readonly string[]) {
    this.cluster = cluster;
    this.#kubectl = kubectl;
  }

  static async of(cluster: TestCluster): Promise<Patient> {
    return new Patient(cluster, await cluster.kubectlCommand());
  }

  kubectl(...args: string[]): Promise<string> {
    return must([...this.#kubectl, ...args]);
  }

  /** Whether kubectl succeeds. */
  async can(...args: string[]): Promise<boolean> {
    return (await run([...this.#kubectl, "--request-timeout=2s", ...args])).code === 0;
  }

  async apply(items: readonly object[]): Promise<void> {
    const input = JSON.stringify({ apiVersion: "v1", kind: "List", items });
    await must([...this.#kubectl, "apply", "-f", "-"], { input });
  }

  /** Everything does its work: a new Deployment's pod runs on the host, its Service answers on each host, and all units are active. */
  async startsSomething(name: string, host: string): Promise<void> {
    await eventually("the API", 60, () => this.can("get", "--raw", "/readyz"));
    await this.apply(workload(name, { nodeSelector: { [hostname]: host } }));
    await this.kubectl("rollout", "status", `deployment/${name}`, "--timeout=90s");
    const address = await this.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}");
    for (const asking of this.cluster.hosts) {
      await eventually(`the Service ${name} on ${asking}`, 30, async () => {
        const answer = await runOnHost(this.cluster.instance, asking, `curl -sf --max-time 2 http://${address}`);
        return answer.code === 0;
      });
    }
    await this.kubectl("delete", "--wait=false", `deployment/${name}`, `service/${name}`);
    for (const [host, units] of Object.entries(this.cluster.units)) {
      const names = units.map((unit) => `${unit}.service`).join(" ");
      await eventually(`all of ${names} on ${host} active`, 30, async () => {
        const { stdout } = await runOnHost(this.cluster.instance, host, `systemctl is-active ${names}`);
        return stdout === "active\n".repeat(units.length);
      });
    }
  }

  /** Id of the process of a unit. */
  async pid(host: string, unit: string): Promise<string> {
    return (await this.cluster.onHost(host, `systemctl show --property MainPID --value ${unit}.service`)).trim();
  }

  /** Kills the process of a unit outright; ends when systemd has started it again. */
  async kill(host: string, unit: string): Promise<string> {
    const before = await this.pid(host, unit);
    assert.notEqual(before, "0", `${unit} runs on ${host}`);
    await this.cluster.onHost(host, `kill -KILL ${before}`);
    return eventually(`${unit} on ${host} started again`, 30, async () => {
      const now = await this.pid(host, unit);
      const { stdout } = await runOnHost(this.cluster.instance, host, `systemctl is-active ${unit}.service`);
      return now !== before && now !== "0" && stdout === "active\n";
    });
  }

  /** Kills a unit's process six times, each as soon as systemd has started it: sooner than its default limit allows. */
  async killAgainAndAgain(host: string, unit: string): Promise<void> {
    const pid = `systemctl show --property MainPID --value ${unit}.service`;
    const once = `old=$(${pid}); kill -KILL $old; until now=$(${pid}) && [ $now != 0 ] && [ $now != $old ]; do sleep 0.05; done`;
    await this.cluster.onHost(host, `timeout 60 bash -c 'for i in 1 2 3 4 5 6; do ${once}; done'`);
  }

  /** The containers of the proof: a restarted one has another id. */
  async containers(): Promise<string[]> {
    const path = 'jsonpath={range .items[*]}{.status.containerStatuses[0].containerID}{"\\n"}{end}';
    return (await this.kubectl("get", "pods", "-n", "plainkube-proof", "-o", path)).trim().split("\n").sort();
  }

  /** Since when a node is as ready, or not, as it is now. */
  readySince(host: string): Promise<string> {
    const path = 'jsonpath={.status.conditions[?(@.type=="Ready")].lastTransitionTime}';
    return this.kubectl("get", "node", host, "-o", path);
  }

  /** Waits until the Service of the proof has answered each host with pods of every worker. */
  async answers(within: number): Promise<string> {
    const url = await this.cluster.proofUrl();
    const began = performance.now();
    for (const host of this.cluster.hosts) {
      const nodes = new Set<string>();
      await eventually(`answers on ${host} of pods of ${this.cluster.hosts}`, within, async () => {
        const { stdout } = await runOnHost(this.cluster.instance, host, `curl -sf --max-time 2 ${url}`);
        const node = stdout.match(/"node":"([^"]+)"/)?.[1];
        if (node) nodes.add(node);
        return nodes.size === this.cluster.hosts.length;
      });
    }
    return seconds(began);
  }
}

/** Which of them run in every `npm test`; the long run has them all. */
const often: readonly string[] = ["etcd", "kube-apiserver", "plainkube-containerd", "kubelet", "kube-proxy"];
const killed = [
  { host: "node1", unit: "etcd" },
  { host: "node1", unit: "kube-apiserver" },
  { host: "node1", unit: "kube-controller-manager" },
  { host: "node1", unit: "kube-scheduler" },
  { host: "node2", unit: "plainkube-containerd" },
  { host: "node2", unit: "kubelet" },
  { host: "node2", unit: "kube-proxy" },
  { host: "node2", unit: "plainkube-routes" },
] as const;

/** The faults that meet a running cluster of two hosts, like stack dev's. Each test leaves it working. */
export function outageTests(cluster: () => TestCluster): void {
  let patient: Patient;
  /** Once the cluster is there: hooks of the file itself do not wait for each other. */
  const admit = async () => {
    patient = await Patient.of(cluster());
  };

  describe("a process that is killed, under requests to the Service from both hosts", () => {
    let stream: Stream;
    before(admit);
    before(async () => {
      stream = await Stream.start(cluster());
    });
    after(() => stream.stop());

    for (const { host, unit } of killed.filter(({ unit }) => isLongRun || often.includes(unit))) {
      test(`${unit}: no request fails, it comes back, and a new Service works`, (t: TestContext) =>
        trial("faults", async () => {
          const [containers, ready] = [await patient.containers(), await patient.readySince(host)];
          await stream.mark();
          const back = await patient.kill(host, unit);
          await patient.startsSomething(`after-${unit}`, host);
          const { failed, text } = await stream.seen();
          t.diagnostic(`${unit} killed on ${host}, back after ${back}; ${text}`);
          assert.equal(failed, 0, text);
          assert.deepEqual(await patient.containers(), containers, "pods live on");
          // It would take a node's pods out of every Service, and no pod would start there, for ten seconds.
          if (unit === "kubelet") assert.equal(await patient.readySince(host), ready, "the node stays ready");
        }));
    }

    test("CoreDNS, both at once: no request fails, and names are found again", (t: TestContext) =>
      trial("faults", async () => {
        await stream.mark();
        const pids = await Promise.all(
          cluster().hosts.map((host) => runOnHost(cluster().instance, host, "pkill -KILL -x coredns")),
        );
        assert.ok(
          pids.some(({ code }) => code === 0),
          "a CoreDNS was killed",
        );
        const url = await cluster().proofUrl();
        const back = await eventually("an answer by name", 60, async () => {
          const { stdout } = await runOnHost(cluster().instance, "node1", `curl -sf --max-time 5 ${url}/peer`);
          return /"peer":\{"pod"/.test(stdout);
        });
        const { failed, text } = await stream.seen();
        t.diagnostic(`CoreDNS killed, names found after ${back}; ${text}`);
        assert.equal(failed, 0, text);
      }));

    for (const { host, unit } of isLongRun ? killed : []) {
      test(`${unit}, six times in a row: systemd does not give up`, (t: TestContext) =>
        trial("faults", async () => {
          await stream.mark();
          await patient.killAgainAndAgain(host, unit);
          await patient.startsSomething(`again-${unit}`, host);
          const { failed, text } = await stream.seen();
          t.diagnostic(text);
          assert.equal(failed, 0, text);
        }));
    }
  });

  describe("a host that goes down", () => {
    before(admit);
    const value = crypto.randomUUID();
    const kept = async () =>
      patient.kubectl("get", "secret/kept", "configmap/kept", "-o", "jsonpath={range .items[*]}{.data.a} {end}");
    const stored = `${Buffer.from(value).toString("base64")} ${value} `;

    /** The fault, then the Service on both hosts within a minute, and what was stored before. */
    async function survives(t: TestContext, fault: () => Promise<unknown>): Promise<void> {
      await patient.kubectl("delete", "secret/kept", "configmap/kept", "--ignore-not-found");
      await patient.kubectl("create", "configmap", "kept", `--from-literal=a=${value}`);
      await patient.kubectl("create", "secret", "generic", "kept", `--from-literal=a=${value}`);
      await fault();
      const answered = await patient.answers(60);
      t.diagnostic(`the Service answered on both hosts ${answered} after they answered SSH`);
      assert.equal(await kept(), stored);
      await patient.startsSomething("after-outage", "node2");
    }

    test("the control plane's, without power at once: etcd recovers, nothing is lost", (t: TestContext) =>
      trial("faults", () =>
        survives(t, async () => {
          await powerOff(cluster().instance, "node1");
          await powerOn(cluster().instance, "node1");
        }),
      ));

    test("both at once, by a reboot: the cluster is back by itself", (t: TestContext) =>
      trial("faults", async () => {
        await survives(t, () => Promise.all(cluster().hosts.map((host) => reboot(cluster().instance, host))));
        // Without --shutdown-send-retry-after it waits a minute for watches, and systemd kills it before.
        const ended = await cluster().onHost("node1", "journalctl --no-pager -u kube-apiserver -b -1 | tail -3");
        assert.match(ended, /kube-apiserver\.service: Deactivated successfully/);
      }));

    for (const host of isLongRun ? ["node1", "node2"] : []) {
      test(`${host} alone, by a reboot: the cluster is back by itself`, (t: TestContext) =>
        trial("faults", () => survives(t, () => reboot(cluster().instance, host))));
    }
  });
}

/** What somebody does to a host, and how it is told. */
const drifts: Readonly<Record<string, { host: string; does: string; told: string | RegExp }>> = {
  "a unit file that was edited": {
    host: "node2",
    does: "sed -i 's/^RestartSec=2/RestartSec=3/' /etc/systemd/system/kube-proxy.service && systemctl daemon-reload && systemctl restart kube-proxy",
    told: "kube-proxy.service: /etc/systemd/system/kube-proxy.service has other content",
  },
  "a drop-in": {
    host: "node2",
    does: "mkdir /etc/systemd/system/kube-proxy.service.d && printf '[Service]\\nNice=1\\n' >/etc/systemd/system/kube-proxy.service.d/nice.conf && systemctl daemon-reload",
    told: "kube-proxy.service: /etc/systemd/system/kube-proxy.service.d/nice.conf is not of this cluster; remove it and run 'systemctl daemon-reload'",
  },
  "a unit that was stopped": {
    host: "node1",
    does: "systemctl stop kube-scheduler",
    told: /^kube-scheduler\.service: is (failed|inactive), not active$/,
  },
  "a unit that was disabled": {
    host: "node2",
    does: "systemctl disable --quiet kubelet",
    told: "kubelet.service: is disabled, so that the next boot does not start it",
  },
  "a binary that was removed": {
    host: "node2",
    does: "rm $(readlink /opt/plainkube/bin/kubelet)",
    told: /^binary kubelet: \/opt\/plainkube\/store\/\w{64} is missing$/,
  },
  "a binary that was damaged": {
    host: "node2",
    does: "f=$(readlink /opt/plainkube/cni/portmap) && cp $f $f.new && echo >>$f.new && mv $f.new $f",
    told: /^binary portmap: \/opt\/plainkube\/store\/\w{64} has other content than its name says$/,
  },
  "another binary under its name": {
    host: "node1",
    does: "rm /opt/plainkube/bin/kubectl && cp /bin/true /opt/plainkube/bin/kubectl",
    told: "binary kubectl: /opt/plainkube/bin/kubectl is no link into /opt/plainkube/store",
  },
  "a certificate that was deleted": {
    host: "node1",
    does: "rm /etc/plainkube/pki/apiserver-kubelet-client.crt",
    told: "kube-apiserver.service: /etc/plainkube/pki/apiserver-kubelet-client.crt is missing",
  },
  // One that units of another phase read, too: they are started again with it.
  "a certificate that was edited": {
    host: "node1",
    does: "echo >>/etc/plainkube/pki/front-proxy-ca.crt",
    told: "kube-apiserver.service: /etc/plainkube/pki/front-proxy-ca.crt has other content",
  },
  "a key that others may read": {
    host: "node1",
    does: "chmod 644 /etc/plainkube/pki/sa.key",
    told: "kube-apiserver.service: /etc/plainkube/pki/sa.key has mode 644 of uid 0, not 600 of uid 0",
  },
  "a kernel setting": {
    host: "node2",
    does: "sysctl -qw net.ipv4.ip_forward=0",
    told: "plainkube-routes.service: net.ipv4.ip_forward is 0, not 1",
  },
};

/** Runs `npm run drift` on the cluster's stack. */
export async function drift(cluster: TestCluster, ...args: string[]): Promise<{ code: number; lines: string[] }> {
  const { instance, stack } = cluster;
  const command = ["node", "drift/main.ts", "--stack", stack.name, "--config-file", stack.file, ...args];
  const env = { ...process.env, ...stack.environment };
  const { code, stdout, stderr } = await run([...insideLan(instance), ...command], { cwd: projectDirectory, env });
  return { code, lines: `${stdout}${stderr}`.trimEnd().split("\n") };
}

export const asLeft = (cluster: TestCluster) => cluster.hosts.map((host) => `${host}: as the last up left it`);

/** What is changed on hosts behind Pulumi's back. Leaves the cluster working. */
export function driftTests(cluster: () => TestCluster): void {
  describe("what is changed behind Pulumi's back", () => {
    let found: { code: number; lines: string[] };

    test("is nothing at first", async () => {
      assert.deepEqual(await drift(cluster()), { code: 0, lines: asLeft(cluster()) });
    });

    test("is told, all at once", async () => {
      for (const { host, does } of Object.values(drifts)) await cluster().onHost(host, does);
      found = await drift(cluster());
      assert.equal(found.code, 1);
      // A preview compares the program with the state alone.
      await cluster().pulumi("preview", "--expect-no-changes");
    });

    for (const [what, { host, told }] of Object.entries(drifts)) {
      test(`${what} is named`, () => {
        const own = found.lines
          .filter((line) => line.startsWith(`${host}: `))
          .map((line) => line.slice(host.length + 2));
        assert.ok(
          own.some((line) => (typeof told === "string" ? line === told : told.test(line))),
          found.lines.join("\n"),
        );
      });
    }

    test("is set right by --repair, and nothing is left to do", () =>
      trial("faults", async () => {
        await cluster().onHost("node2", "rm -r /etc/systemd/system/kube-proxy.service.d && systemctl daemon-reload");
        const earlier = await cluster().invocations();
        const { code, lines } = await drift(cluster(), "--repair");
        assert.equal(code, 0, lines.join("\n"));
        assert.deepEqual(lines.slice(-cluster().hosts.length), asLeft(cluster()));
        const differed = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"].map((unit) => `node1 ${unit}`);
        differed.push(...["kubelet", "kube-proxy", "plainkube-routes"].map((unit) => `node2 ${unit}`));
        // The API server's end ends its watch, so that systemd starts it again.
        const restarted = (await cluster().restartedSince(earlier)).filter((unit) => unit !== "node1 plainkube-routes");
        assert.deepEqual(restarted.sort(), differed.sort());
        await cluster().up("--expect-no-changes");
        await cluster().assertServiceAnswers();
      }));
  });
}
