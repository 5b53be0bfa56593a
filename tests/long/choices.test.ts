import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { prepare, stackConfig } from "../../lab/stack.ts";
import { addons, addonTests, assertLogs } from "../e2e/addons.ts";
import { TestCluster } from "../e2e/harness.ts";

/**
 * The choices that stack dev leaves at their defaults, on one cluster that goes from one to the other as a user's would: first nftables
 * and routes, with a control plane that runs no pods, kubelets that ask for their certificates, and all add-ons; then iptables and
 * flannel, a worker more, and issued certificates. The tests follow each other.
 */

const namespace = "plainkube-proof";
const workload = "plainkube.local/workload:1.0.0";
const hosts = (first: readonly string[]) => [
  { name: "node1", address: "10.90.23.41", roles: first },
  { name: "node2", address: "10.90.23.42", roles: ["worker"] },
];
const worker = ["plainkube-containerd", "plainkube-images", "kubelet", "kube-proxy", "flanneld"];
let cluster: TestCluster;
let dnsPods: string;

before(async () => {
  const config = await stackConfig("dev");
  cluster = await TestCluster.make({
    label: "cho",
    config: {
      ...config,
      "plainkube:hosts": hosts(["control-plane"]),
      "plainkube:network": { kubeProxyMode: "nftables" },
      "plainkube:versions": { kubernetes: "1.35.4" },
      "plainkube:kubelet": { certificates: "bootstrapped" },
      "plainkube:addons": addons,
    },
    // As they are in the end.
    units: {
      node1: ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", ...worker],
      node2: worker,
    },
  });
});

after(() => cluster.remove());

/** Changes the stack's configuration and brings it up. */
async function change(network: object): Promise<void> {
  await cluster.stack.configure({
    ...cluster.config,
    "plainkube:hosts": hosts(["control-plane", "worker"]),
    "plainkube:network": network,
    "plainkube:kubelet": { certificates: "issued" },
  });
  await cluster.up();
}

/** The same proof for every choice: Service, DNS, node port, host port, and pods that leave with their host's address. */
async function assertNetworkWorks(workers: readonly string[]): Promise<void> {
  await cluster.assertServiceAnswers(workers);
  const peer = JSON.parse(await cluster.onHost("node1", `curl -sf --max-time 10 ${await cluster.proofUrl()}/peer`));
  assert.ok(peer.peer.pod, "a pod that was found by DNS");

  const nodePort = await cluster.kubectl(
    "get",
    "service",
    "door",
    "-n",
    namespace,
    "-o",
    "jsonpath={.spec.ports[0].nodePort}",
  );
  for (const address of ["10.90.23.41", "10.90.23.42"]) {
    // From the other host, as the way is another there.
    const from = address === "10.90.23.41" ? "node2" : "node1";
    assert.match(await cluster.onHost(from, `curl -sf --max-time 5 http://${address}:${nodePort}`), /"pod":"proof-/);
  }
  assert.match(
    await cluster.onHost("node1", "curl -sf --max-time 5 http://10.90.23.42:18080/healthz -w %{http_code}"),
    /200/,
  );

  const pod = await cluster.kubectl("get", "pod", "harbour", "-n", namespace, "-o", "jsonpath={.status.podIP}");
  const seen = await cluster.onHost(
    "node2",
    `for ns in $(ip netns | cut -d' ' -f1); do if ip -n $ns -4 address | grep -q ' ${pod}/'; then ip netns exec $ns curl -sk --max-time 5 https://10.90.23.41:6443/readyz; fi; done
     echo; conntrack -L -p tcp --orig-src ${pod} --orig-dst 10.90.23.41 2>/dev/null`,
  );
  assert.match(seen, /^ok$/m);
  assert.match(seen, /src=10\.90\.23\.41 dst=10\.90\.23\.42 /, "the API server saw the host's address");
}

/** A pod with a port of its host; made again where it is, as such ports follow the netfilter tool only from then on. */
async function makeHarbour(): Promise<void> {
  const file = join(cluster.instance.directory, "harbour.json");
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "harbour", namespace },
    spec: {
      nodeName: "node2",
      terminationGracePeriodSeconds: 0,
      containers: [{ name: "workload", image: workload, ports: [{ containerPort: 8080, hostPort: 18080 }] }],
    },
  };
  await writeFile(file, JSON.stringify(pod));
  await cluster.kubectl("delete", "pod", "harbour", "-n", namespace, "--ignore-not-found");
  await cluster.kubectl("apply", "-f", file);
  await cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/harbour", "--timeout=30s");
}

/** The netfilter of each host holds rules of this tool, and none of the other. */
async function assertNetfilter(tool: "iptables" | "nftables"): Promise<void> {
  for (const host of cluster.hosts) {
    const iptables = await cluster.onHost(host, "iptables-save 2>/dev/null | grep -cE 'KUBE-|CNI-|plainkube' || :");
    const tables = await cluster.onHost(host, "nft list tables | grep -cE 'ip (kube-proxy|plainkube)$' || :");
    const ours = tool === "nftables" ? "2" : "0";
    assert.equal(tables.trim(), ours, `nft's tables on ${host}`);
    if (tool === "nftables") assert.equal(iptables.trim(), "0", `lines of iptables on ${host}`);
    else assert.ok(Number(iptables) > 20, `lines of iptables on ${host}: ${iptables}`);
  }
}

/** Pods that no change of these settings is about, with their addresses. */
const podsOfDns = (): Promise<string> =>
  cluster.kubectl(
    ...["get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns"],
    ...["-o", 'jsonpath={range .items[*]}{.metadata.uid} {.status.podIP}{"\\n"}{end}'],
  );

/** How node1 sends packets to a pod of node2. */
const wayToNode2 = async (): Promise<string> => {
  const pod = await cluster.kubectl("get", "pod", "harbour", "-n", namespace, "-o", "jsonpath={.status.podIP}");
  return cluster.onHost("node1", `ip route get ${pod}`);
};

describe("nftables and routes", () => {
  test("make a cluster, with a control plane that runs no pods", async () => {
    await cluster.up();
    const nodes = await cluster.kubectl("get", "nodes", "-o", "name");
    assert.equal(nodes, "node/node2\n");
    await cluster.kubectl(
      "expose",
      "deployment",
      "proof",
      "-n",
      namespace,
      "--name=door",
      "--type=NodePort",
      "--port=80",
      "--target-port=8080",
    );
    await makeHarbour();
  });

  test("carry packets between hosts, and need no iptables", async () => {
    await assertNetworkWorks(["node2"]);
    await assertNetfilter("nftables");
    assert.match(await wayToNode2(), /via 10\.90\.23\.42 dev/);
    dnsPods = await podsOfDns();
  });
});

describe("a cluster of other choices", () => addonTests(() => cluster, ["node2"]));

describe("iptables and flannel", () => {
  // The binary that the first configuration does without.
  before(async () => {
    const network = { podNetwork: "flannel" };
    await prepare({ ...cluster.config, "plainkube:network": network }, (line) => console.error(`# ${line}`));
  });

  test("take over from them, on a control plane that becomes a worker, too", async () => {
    await change({ kubeProxyMode: "iptables", podNetwork: "flannel" });
    assert.equal(await podsOfDns(), dnsPods, "pods go on");
    // Another number of workers is another Deployment of the proof; that of before answered meanwhile.
    await cluster.kubectl("rollout", "status", "deployment/proof", "-n", namespace, "--timeout=60s");
    await makeHarbour();
  });

  test("come with issued certificates, and no approver any more", async () => {
    await assertLogs(cluster);
    const left = await cluster.onHost("node1", "systemctl list-unit-files 'plainkube-approver*' --no-legend || :");
    assert.equal(left, "");
    await cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s");
  });

  test("carry packets between hosts by VXLAN", async () => {
    await assertNetworkWorks(["node1", "node2"]);
    await assertNetfilter("iptables");
    assert.match(await wayToNode2(), /via 10\.244\.\d+\.0 dev flannel\.1 /);
    for (const host of cluster.hosts) {
      const [link] = JSON.parse(await cluster.onHost(host, "ip -json -details link show flannel.1"));
      const { id, port } = link.linkinfo.info_data;
      assert.deepEqual({ id, port, mtu: link.mtu }, { id: 1, port: 8472, mtu: 1450 }, `flannel.1 on ${host}`);
      assert.equal(await cluster.onHost(host, "ip -4 route show proto 112"), "", `routes of before on ${host}`);
    }
    const pod = await cluster.kubectl("get", "pod", "harbour", "-n", namespace, "-o", "jsonpath={.status.podIP}");
    const counts = "cat /sys/class/net/flannel.1/statistics/{tx,rx}_packets";
    const shown = await cluster.onHost("node1", `${counts}; curl -sf --max-time 5 http://${pod}:8080 >&2; ${counts}`);
    const [tx = 0, rx = 0, txAfter = 0, rxAfter = 0] = shown.split("\n").map(Number);
    const [sent, received] = [txAfter - tx, rxAfter - rx];
    assert.ok(sent >= 4 && received >= 3, `packets through flannel.1: ${sent} sent, ${received} received`);
  });
});

test("nftables and flannel take over from them", async () => {
  await change({ kubeProxyMode: "nftables", podNetwork: "flannel" });
  assert.equal(await podsOfDns(), dnsPods, "pods go on");
  // Another number of workers is another Deployment of the proof; that of before answered meanwhile.
  await cluster.kubectl("rollout", "status", "deployment/proof", "-n", namespace, "--timeout=60s");
  await makeHarbour();
  await assertNetworkWorks(["node1", "node2"]);
  await assertNetfilter("nftables");
  assert.match(await wayToNode2(), /dev flannel\.1 /);
});

test("a second up has nothing to do", () => cluster.assertNothingToDo());

test("destroy gives the hosts back, with the volume of a claim that was left", () => cluster.assertGivenBack());
