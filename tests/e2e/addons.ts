import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { must, run, sleep } from "../../lab/shell.ts";
import type { TestCluster } from "./harness.ts";

/** Where the tests of volumes expect them on the hosts. */
export const volumes = "/srv/plainkube/volumes";

/** The add-ons as the tests below expect them. */
export const addons = {
  metricsServer: true,
  localPath: volumes,
  storageClasses: [
    { name: "local", provisioner: "local-path", default: true },
    { name: "elsewhere", provisioner: "ebs.csi.aws.com", reclaimPolicy: "Retain", parameters: { type: "gp3" } },
  ],
};

/** Asks again until the answer is accepted, for a minute and a half at most. */
async function eventually<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const end = Date.now() + 90_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > end) throw new Error(`${what}: not within 90 s`);
    await sleep(500);
  }
}

interface Csr {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly username: string; readonly signerName: string };
  readonly status: { readonly certificate?: string; readonly conditions?: readonly { readonly type: string }[] };
}

const stateOf = ({ status }: Csr) =>
  [...(status.conditions ?? []).map((c) => c.type), ...(status.certificate ? ["Issued"] : [])].join(",");

/** Every pod of the proof has a log that its kubelet gives out. */
export async function assertLogs(cluster: TestCluster): Promise<void> {
  for (const pod of await cluster.proofPods(".metadata.name")) {
    assert.notEqual(await cluster.kubectl("logs", "-n", "plainkube-proof", pod), "", `logs of ${pod}`);
  }
}

/**
 * metrics-server, volumes on hosts, and kubelets that ask for their certificates, on a cluster that has them. Its volumes'
 * claim "left" stays behind.
 */
export function addonTests(cluster: () => TestCluster, workers: readonly string[]): void {
  /** Hands documents to `kubectl` by its standard input. */
  async function apply(...documents: readonly object[]): Promise<void> {
    const list = { apiVersion: "v1", kind: "List", items: documents };
    await must([...(await cluster().kubectlCommand()), "create", "-f", "-"], { input: JSON.stringify(list) });
  }

  async function csrs(): Promise<Csr[]> {
    return JSON.parse(await cluster().kubectl("get", "csr", "-o", "json")).items;
  }

  describe("kubelets that ask for their certificates", () => {
    test("are issued one of each kind, and serve with the cluster's", async () => {
      const lines = (await csrs()).map((csr) => `${csr.spec.username} ${csr.spec.signerName} ${stateOf(csr)}`);
      assert.deepEqual(
        [...new Set(lines)].sort(),
        workers.flatMap((host) =>
          ["kube-apiserver-client-kubelet", "kubelet-serving"].map(
            (signer) => `system:node:${host} kubernetes.io/${signer} Approved,Issued`,
          ),
        ),
      );
      for (const host of cluster().instance.hosts.filter(({ name }) => workers.includes(name))) {
        const status = await cluster().onHost(
          "node1",
          `curl -s --cacert /etc/plainkube/pki/ca.crt -o /dev/null -w '%{http_code}' https://${host.address}:10250/pods`,
        );
        assert.equal(status, "401", `verified, and refused, on ${host.name}`);
        const shipped = await cluster().onHost(host.name, "ls /etc/plainkube/pki/kubelet /etc/plainkube/kubeconfig");
        assert.doesNotMatch(shipped, /serving|kubelet\.yaml/);
      }
      await assertLogs(cluster());
    });

    test("get none for other names, and others get none for theirs", async () => {
      const kubelet =
        "KUBECACHEDIR=/run/plainkube/kubectl /opt/plainkube/bin/kubectl --kubeconfig /var/lib/kubelet/kubeconfig.yaml";
      const request = async (name: string, names: string) => {
        const pem = await cluster().onHost(
          "node2",
          `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /O=system:nodes/CN=system:node:node2 -addext subjectAltName=${names}`,
        );
        return {
          apiVersion: "certificates.k8s.io/v1",
          kind: "CertificateSigningRequest",
          metadata: { name },
          spec: {
            request: Buffer.from(pem).toString("base64"),
            signerName: "kubernetes.io/kubelet-serving",
            usages: ["digital signature", "server auth"],
          },
        };
      };
      const asNode2 = async (document: object) =>
        cluster().onHost("node2", `${kubelet} create -f - <<'EOF'\n${JSON.stringify(document)}\nEOF`);
      await apply(await request("forged-requester", "DNS:node2,IP:10.90.23.42"));
      await asNode2(await request("forged-address", "DNS:node2,IP:10.90.23.41"));
      await asNode2(await request("forged-name", "DNS:node2,DNS:kubernetes,IP:10.90.23.42"));
      // The approver has seen them all when it has approved what comes last.
      await asNode2(await request("sound", "DNS:node2,IP:10.90.23.42"));
      const states = await eventually("the approval of a sound request", async () => {
        const all = Object.fromEntries((await csrs()).map((csr) => [csr.metadata.name, stateOf(csr)]));
        return all.sound === "Approved,Issued" ? all : undefined;
      });
      for (const name of ["requester", "address", "name"]) assert.equal(states[`forged-${name}`], "", name);
    });
  });

  describe("volumes on hosts", () => {
    /** A pod that has the host's shell, as the images bring none, and a claim's volume at /data; not of root. */
    const pod = (name: string, claim: string, command: string) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name },
      spec: {
        restartPolicy: "Never",
        terminationGracePeriodSeconds: 0,
        securityContext: { runAsUser: 1000 },
        containers: [
          {
            name: "shell",
            image: "plainkube.local/workload:1.0.0",
            command: ["/usr/bin/sh", "-euc", command],
            volumeMounts: [
              ...["/usr", "/lib", "/lib64"].map((path) => ({ name: path.slice(1), mountPath: path, readOnly: true })),
              { name: "data", mountPath: "/data" },
            ],
          },
        ],
        volumes: [
          ...["/usr", "/lib", "/lib64"].map((path) => ({ name: path.slice(1), hostPath: { path } })),
          { name: "data", persistentVolumeClaim: { claimName: claim } },
        ],
      },
    });
    const claim = (name: string) => ({
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Mi" } } },
    });
    const succeeds = (name: string) =>
      cluster().kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", `pod/${name}`, "--timeout=90s");
    const folders = async () =>
      (await Promise.all(cluster().hosts.map((host) => cluster().onHost(host, `ls ${volumes} 2>/dev/null || :`)))).join(
        "",
      );

    test("bind a claim when a pod comes, and keep what it writes for the next pod", async () => {
      const classes = await cluster().kubectl(
        "get",
        "storageclass",
        "-o",
        'jsonpath={range .items[*]}{.metadata.name} {.provisioner} {.reclaimPolicy} {.metadata.annotations.storageclass\\.kubernetes\\.io/is-default-class}{"\\n"}{end}',
      );
      assert.equal(classes, "elsewhere ebs.csi.aws.com Retain false\nlocal rancher.io/local-path Delete true\n");
      await apply(claim("data"), claim("left"));
      assert.equal(await cluster().kubectl("get", "pvc", "data", "-o", "jsonpath={.status.phase}"), "Pending");
      const write = "umask 077; mkdir /data/own; echo kept >/data/own/file";
      await apply(pod("writer", "data", write), pod("leaver", "left", write));
      await succeeds("writer");
      await succeeds("leaver");
      assert.equal(await cluster().kubectl("get", "pvc", "data", "-o", "jsonpath={.status.phase}"), "Bound");
      await apply(pod("reader", "data", "cat /data/own/file"));
      await succeeds("reader");
      assert.equal(await cluster().kubectl("logs", "reader"), "kept\n");
      assert.match(await folders(), /^pvc-[0-9a-f-]+_default_data$/m);
    });

    test("go with their claim, the others stay", async () => {
      await cluster().kubectl("delete", "pod", "writer", "reader", "leaver");
      await cluster().kubectl("delete", "pvc", "data");
      await eventually("the removal of the folder", async () => (/_data$/m.test(await folders()) ? undefined : true));
      assert.match(await folders(), /^pvc-[0-9a-f-]+_default_left$/m);
    });
  });

  describe("metrics-server", () => {
    test("answers kubectl top through the API server", async () => {
      const top = async (...args: string[]) => {
        const { code, stdout } = await run([...(await cluster().kubectlCommand()), "top", ...args, "--no-headers"]);
        const names = stdout.split("\n").flatMap((line) => line.split(/\s+/)[0] || []);
        return code === 0 ? names.sort() : [];
      };
      await eventually("kubectl top nodes", async () =>
        (await top("nodes")).length === workers.length ? true : undefined,
      );
      const pods = (await cluster().proofPods(".metadata.name")).sort();
      await eventually("kubectl top pods", async () =>
        `${await top("pods", "-n", "plainkube-proof")}` === `${pods}` ? true : undefined,
      );
    });

    test("has a certificate of the cluster's, and takes nobody who comes past the API server", async () => {
      const address = await cluster().kubectl(
        "get",
        "service",
        "-n",
        "kube-system",
        "metrics-server",
        "-o",
        "jsonpath={.spec.clusterIP}",
      );
      const host = "metrics-server.kube-system.svc";
      const status = await cluster().onHost(
        "node1",
        `curl -s --cacert /etc/plainkube/pki/ca.crt --resolve ${host}:443:${address} -H 'X-Remote-User: admin' -H 'X-Remote-Group: system:masters' -o /dev/null -w '%{http_code}' https://${host}/apis/metrics.k8s.io/v1beta1/nodes`,
      );
      assert.equal(status, "403");
      const api = JSON.parse(await cluster().kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "-o", "json"));
      assert.equal(api.spec.insecureSkipTLSVerify, undefined);
      assert.match(Buffer.from(api.spec.caBundle, "base64").toString(), /BEGIN CERTIFICATE/);
    });
  });
}
