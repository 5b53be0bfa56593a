import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "./harness.ts";
import { minimalUnits } from "./removal.ts";

/**
 * The system `minimal` in the version of the document that it follows, from end to end. That each of its parts is needed is
 * tried in tests/long/minimal.test.ts.
 */

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.make({ label: "mi", config: await stackConfig("minimal"), units: minimalUnits });
});

after(() => cluster.remove());

describe("the system minimal", () => {
  test("leaves a folder alone that somebody else uses", async () => {
    await cluster.onHost("node2", "mkdir /opt/k8s && echo mine >/opt/k8s/kubectl");
    assert.match(
      await cluster.failingUp(),
      /host node2 \(10\.90\.23\.42\) is not ready: 1 problem; [\s\S]*leftovers\n +got: +\/opt\/k8s\n +expected: a folder that is empty/,
    );
    assert.equal(await cluster.onHost("node2", "cat /opt/k8s/*; rm -r /opt/k8s"), "mine\n");
  });

  test("answers from each host, with the document's versions", async () => {
    await cluster.up();
    await cluster.assertServiceAnswers();
    const nodes = "jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion}{'\\n'}{end}";
    assert.equal(await cluster.kubectl("get", "nodes", "-o", nodes), "node1 v1.26.3\nnode2 v1.26.3\n");
    assert.match(await cluster.onHost("node1", "curl -s http://127.0.0.1:2379/version"), /"etcdserver":"3\.5\.7"/);
  });

  test("places nothing but this, and nothing elsewhere", async () => {
    const worker = [
      ...["bridge", "bridge.conf", "containerd", "containerd-shim-runc-v2", "containerd.toml", "ctr", "host-local"],
      ...[
        "kube-proxy",
        "kubeconfig",
        "kubelet",
        "kubelet.yaml",
        "loopback",
        "pause.tar",
        "runc",
        "store",
        "workload.tar",
      ],
    ];
    const controlPlane = [
      ...["apiserver.crt", "apiserver.key", "default.etcd"],
      ...["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"],
    ];
    const tree = async (host: string) => (await cluster.onHost(host, "ls /opt/k8s")).trim().split("\n");
    assert.deepEqual(await tree("node1"), [...worker, ...controlPlane].sort());
    assert.deepEqual(await tree("node2"), worker);
    for (const host of cluster.hosts) {
      assert.equal(await cluster.onHost(host, "ls -d /opt/plainkube /etc/plainkube 2>/dev/null || :"), "", host);
    }
  });

  test("signs its tokens with an RSA key of 4096 bits, as the issuer api", async () => {
    const token = await cluster.kubectl("create", "token", "default");
    const [header = "", claims = ""] = token.split(".").map((part) => Buffer.from(part, "base64url").toString());
    assert.equal(JSON.parse(header).alg, "RS256");
    assert.equal(JSON.parse(claims).iss, "api");
    const key = await cluster.onHost("node1", "openssl x509 -in /opt/k8s/apiserver.crt -noout -text | grep Public-Key");
    assert.match(key, /4096 bit/);
  });

  test("a second up changes nothing", () => cluster.assertNothingToDo());
});

test("destroy gives the hosts back", () => cluster.assertGivenBack());
