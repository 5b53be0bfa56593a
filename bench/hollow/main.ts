import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createInstance, destroyInstance, insideLan, type LabInstance } from "../../lab/instance.ts";
import { must, run, sleep } from "../../lab/shell.ts";
import { LabStack, prepare, projectDirectory, stackConfig } from "../../lab/stack.ts";
import { Crowd, crowdHost, onHost } from "./crowd.ts";
import { look, printPhase } from "./figures.ts";
import { grown, parseMetrics } from "./metrics.ts";
import { Watch } from "./watch.ts";

/**
 * `npm run bench -- hollow --nodes=200`: a control plane made by `pulumi up` on one host of the lab, and hollow nodes of
 * Kubernetes' own simulation (kubemark) that register with it, each as a process with a client certificate of its own.
 */
export interface HollowOptions {
  /** Hollow nodes; they come in steps of a quarter, a half, all. Default: 200. */
  readonly nodes?: number;
  /** Pods of a Deployment over them. Default: 5 times the nodes. */
  readonly pods?: number;
  /** Services that kube-proxy of the real host serves. Default: 500. */
  readonly services?: number;
  /** Nodes that come after all else, to see the pod CIDR end. Default: 0. */
  readonly more?: number;
  /** Settings below `plainkube:network`. Default: the program's own. */
  readonly network?: Readonly<Record<string, unknown>>;
}

const name = "scale-h";
const directory = join(projectDirectory, ".lab", name);
const host = "node1";
const address = "10.90.23.41";
const began = performance.now();
const log = (line: string): void => {
  console.error(`[${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s] ${line}`);
};

export async function hollow(options: HollowOptions = {}): Promise<void> {
  const { nodes = 200 } = options;
  const { pods = 5 * nodes, services = 500, more = 0, network = {} } = options;
  await destroyInstance(name, directory, log);
  await rm(directory, { recursive: true, force: true });
  try {
    const cluster = await makeCluster(network);
    const crowd = new Crowd(cluster.instance, host, `https://${address}:6443`);
    await crowd.install(log);
    await register(cluster, crowd, nodes);
    await rest(cluster, crowd);
    if (pods > 0) await schedule(cluster, pods);
    if (services > 0) await serve(cluster, services);
    if (more > 0) await overflow(cluster, crowd, nodes, more);
  } finally {
    await destroyInstance(name, directory, log);
    await rm(directory, { recursive: true, force: true });
  }
}

interface Cluster {
  readonly instance: LabInstance;
  readonly kubectl: readonly string[];
  readonly look: () => ReturnType<typeof look>;
}

async function makeCluster(network: Readonly<Record<string, unknown>>): Promise<Cluster> {
  const dev = await stackConfig("dev");
  const config = {
    ...dev,
    "plainkube:hosts": [{ name: host, address, roles: ["control-plane", "worker"] }],
    "plainkube:ssh": {
      privateKeyFile: join(directory, "id_ed25519"),
      knownHostsFile: join(directory, "known_hosts"),
    },
    "plainkube:network": network,
  };
  const { kubectl: program } = await prepare(config, log);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const hosts = [{ name: host, address }, crowdHost];
  const instance = await createInstance({ name, directory, hosts, reachable: false, log });
  const stack = await LabStack.open({ instance, name: "dev", config, log });
  log("pulumi up of the control plane");
  const up = await stack.pulumi(["up", "--yes", "--skip-preview"]);
  if (up.code !== 0) throw new Error(`pulumi up ended with code ${up.code}, expected 0:\n${up.stdout}${up.stderr}`);
  const kubeconfig = join(directory, "kubeconfig");
  await writeFile(kubeconfig, String((await stack.outputs()).kubeconfig), { mode: 0o600 });
  const cache = join(directory, "kubectl-cache");
  const kubectl = [...insideLan(instance), program, "--kubeconfig", kubeconfig, "--cache-dir", cache];
  return {
    instance,
    kubectl,
    look: () => look(instance, host, (path) => must([...kubectl, "get", "--raw", path])),
  };
}

const isReady = ([, ready]: readonly string[]): boolean => ready === "True";
const hasPods = ([cidr]: readonly string[]): boolean => cidr !== "";
const nodeFields = [".spec.podCIDR", '.status.conditions[?(@.type=="Ready")].status'];

/** Hollow nodes come in three steps; each ends when all are Ready, have a share of the pod CIDR, and are routed to. */
async function register({ instance, kubectl, look }: Cluster, crowd: Crowd, nodes: number): Promise<void> {
  const watch = new Watch(kubectl, ["nodes", "--selector", "hollow=true"], nodeFields);
  try {
    let there = 0;
    for (const step of [...new Set([Math.ceil(nodes / 4), Math.ceil(nodes / 2), nodes])]) {
      const before = await look();
      log(`hollow nodes ${there + 1} to ${step}`);
      await crowd.start(there + 1, step);
      const started = performance.now();
      const took = async (what: string, passes: (values: readonly string[]) => boolean) => {
        if ((await watch.until(step, passes, 120)) === undefined) {
          throw new Error(`${watch.count(passes)} of ${step} hollow nodes are ${what} after 120 s, expected all`);
        }
        return ((performance.now() - started) / 1000).toFixed(1);
      };
      const registered = await took("registered", () => true);
      const addressed = await took("given addresses", hasPods);
      const ready = await took("Ready", isReady);
      // What this very host routes to: all nodes but itself.
      const routes = "ip -o route show proto 112 | wc -l";
      for (;;) {
        const count = Number(await onHost(instance, host, routes));
        if (count === step) break;
        if (performance.now() - started > 300_000) throw new Error(`${count} routes after 300 s, expected ${step}`);
        await sleep(200);
      }
      const routed = ((performance.now() - started) / 1000).toFixed(1);
      printPhase(`${step} hollow nodes, ${step - there} of them new`, before, await look());
      const { memoryMiB, cpuSeconds, processes } = await crowd.taken();
      console.log(
        `  after the start: registered ${registered} s, pod CIDR ${addressed} s, Ready ${ready} s, routed on ${host} ${routed} s`,
      );
      console.log(
        `  the hollow nodes themselves: ${processes} processes, ${memoryMiB.toFixed(0)} MiB, ${cpuSeconds.toFixed(0)} CPU s so far`,
      );
      there = step;
    }
  } finally {
    watch.stop();
  }
}

/** What a cluster takes in which nothing happens but heartbeats. */
async function rest({ look }: Cluster, crowd: Crowd): Promise<void> {
  // Until the rush is over.
  await sleep(10_000);
  const [before, earlier] = [await look(), await crowd.taken()];
  await sleep(30_000);
  const [after, later] = [await look(), await crowd.taken()];
  printPhase("At rest", before, after);
  const cpu = (later.cpuSeconds - earlier.cpuSeconds) / ((after.at - before.at) / 1000);
  console.log(`  the hollow nodes themselves: ${(cpu * 100).toFixed(0)} % of one core`);
}

/** A Deployment over the hollow nodes: scheduled, running, and gone again. */
async function schedule({ kubectl, look }: Cluster, pods: number): Promise<void> {
  const watch = new Watch(kubectl, ["pods", "--namespace", "hollow"], [".spec.nodeName", ".status.phase"]);
  try {
    const before = await look();
    log(`a Deployment of ${pods} pods`);
    await run([...kubectl, "create", "namespace", "hollow"]);
    await must([...kubectl, "apply", "--filename", "-"], { input: JSON.stringify(deployment(pods)) });
    const started = performance.now();
    const limit = 120;
    const took = async (passes: (values: readonly string[]) => boolean) => {
      const now = () => (performance.now() - started) / 1000;
      return (await watch.until(pods, passes, limit - now())) === undefined
        ? `not in ${limit} s (${watch.count(passes)} of ${pods})`
        : `${now().toFixed(1)} s`;
    };
    const made = await took(() => true);
    const scheduled = await took(([node]) => node !== "");
    const running = await took(([, phase]) => phase === "Running");
    printPhase(`A Deployment of ${pods} pods`, before, await look());
    const nodes = await must([...kubectl, "get", "nodes", "--no-headers"]);
    const lost = nodes.split("\n").filter((line) => line.includes(" NotReady ")).length;
    console.log(`  made ${made}, scheduled ${scheduled}, running ${running}; ${lost} nodes not Ready`);
  } finally {
    watch.stop();
  }
}

const deployment = (replicas: number) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "hollow", namespace: "hollow" },
  spec: {
    replicas,
    selector: { matchLabels: { app: "hollow" } },
    template: {
      metadata: { labels: { app: "hollow" } },
      spec: {
        nodeSelector: { hollow: "true" },
        tolerations: [{ key: "hollow", operator: "Exists" }],
        // Hundreds of kubelets that renew tokens in volumes are more than this machine is for.
        automountServiceAccountToken: false,
        containers: [{ name: "hollow", image: "example.com/hollow:1", imagePullPolicy: "IfNotPresent" }],
      },
    },
  },
});

/** How many addresses stand behind a Service; nobody answers at them. */
const endpoints = 4;

/** Services: what they cost kube-proxy on a real host. */
async function serve({ instance, kubectl, look }: Cluster, services: number): Promise<void> {
  const proxy = async () => parseMetrics(await onHost(instance, host, "curl -sf http://127.0.0.1:10249/metrics"));
  const before = await look();
  const proxyBefore = await proxy();
  log(`${services} Services`);
  await run([...kubectl, "create", "namespace", "hollow"]);
  const items = Array.from({ length: services }, (_, i) => serviceOf(i)).flat();
  const started = performance.now();
  await must([...kubectl, "create", "--filename", "-"], {
    input: JSON.stringify({ apiVersion: "v1", kind: "List", items }),
  });
  const made = (performance.now() - started) / 1000;
  await sleep(20_000);
  const proxyAfter = await proxy();
  printPhase(`${services} Services with ${endpoints} endpoints each`, before, await look());
  const syncs = grown(proxyBefore, proxyAfter, "kubeproxy_sync_proxy_rules_duration_seconds_count");
  const inSyncs = grown(proxyBefore, proxyAfter, "kubeproxy_sync_proxy_rules_duration_seconds_sum");
  const rules = await onHost(
    instance,
    host,
    "{ iptables-save | grep KUBE; nft list table ip kube-proxy; } 2>/dev/null | wc -l",
  );
  console.log(
    `  made in ${made.toFixed(1)} s; kube-proxy wrote its rules ${syncs} times, ${inSyncs.toFixed(1)} s together; ${rules.trim()} lines of rules`,
  );
}

/** A Service and the slice of its endpoints, which no controller has to make. */
function serviceOf(i: number): object[] {
  const named = { name: `hollow-${i}`, namespace: "hollow" };
  return [
    { apiVersion: "v1", kind: "Service", metadata: named, spec: { ports: [{ name: "http", port: 80 }] } },
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { ...named, labels: { "kubernetes.io/service-name": named.name } },
      addressType: "IPv4",
      ports: [{ name: "http", port: 8080 }],
      endpoints: Array.from({ length: endpoints }, (_, k) => ({ addresses: [`10.244.${i % 250}.${200 + k}`] })),
    },
  ];
}

/** Nodes beyond what the pod CIDR has shares for. */
async function overflow({ kubectl }: Cluster, crowd: Crowd, nodes: number, more: number): Promise<void> {
  const watch = new Watch(kubectl, ["nodes", "--selector", "hollow=true"], nodeFields);
  try {
    log(`${more} nodes more`);
    await crowd.start(nodes + 1, nodes + more);
    const registered = await watch.until(nodes + more, () => true, 240);
    await sleep(20_000);
    console.log(
      `\n${watch.count()} hollow nodes (${registered === undefined ? "not all expected ones" : "all expected ones"}): ${watch.count(hasPods)} with a share of the pod CIDR, ${watch.count(isReady)} Ready`,
    );
    const events = await must([...kubectl, "get", "events", "--field-selector", "reason=CIDRNotAvailable"]);
    console.log(events.split("\n").slice(0, 3).join("\n"));
  } finally {
    watch.stop();
  }
}

/** The same from a command line. */
export async function hollowBy(args: string[]): Promise<void> {
  const count = { type: "string" } as const;
  const { values } = parseArgs({
    args,
    options: { nodes: count, pods: count, services: count, more: count, mode: count, "pod-cidr": count },
  });
  const number = (value: string | undefined, key: string) => {
    if (value === undefined) return {};
    if (!/^\d+$/.test(value)) throw new Error(`--${key}: got ${value}, expected a whole number`);
    return { [key]: Number(value) };
  };
  await hollow({
    ...number(values.nodes, "nodes"),
    ...number(values.pods, "pods"),
    ...number(values.services, "services"),
    ...number(values.more, "more"),
    network: {
      ...(values.mode && { kubeProxyMode: values.mode }),
      ...(values["pod-cidr"] && { podCidr: values["pod-cidr"] }),
    },
  });
}

if (import.meta.main) await hollowBy(process.argv.slice(2));
