import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { insideLan, runOnHost } from "../../lab/instance.ts";
import { must, run } from "../../lab/shell.ts";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "./harness.ts";

/**
 * The system `full`: each of its settings has a check here that fails without it. All checks share one cluster; its API
 * server reaches the cluster through a proxy, which the test runs.
 */

const lan = "10.90.23.1";
const node1Api = "https://10.90.23.41:6443";
let cluster: TestCluster;
let settings: Record<string, unknown>;
/** The administrator's kubectl. */
let kubectlCommand: string[];
const kubectl = (...args: string[]) => must([...kubectlCommand, ...args]);
/** kubectl on a host; its cache goes where nothing is compared. */
const hostKubectl = (kubeconfig: string) =>
  `/opt/plainkube/bin/kubectl --cache-dir /run/plainkube/kubectl --kubeconfig ${kubeconfig}`;
const proxies: ChildProcess[] = [];

/** Runs a proxy in the lab's network; returns the requests that it gets, as they come. */
async function startProxy(port: number, ...tls: string[]): Promise<string[]> {
  const script = join(import.meta.dirname, "connect-proxy.ts");
  const [program = "", ...args] = [...insideLan(cluster.instance), process.execPath, script, lan, String(port), ...tls];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  proxies.push(child);
  const requests: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => requests.push(line));
  await once(lines, "line");
  return requests;
}

const apiServer = (change: Record<string, unknown>) => ({
  ...cluster.config,
  "plainkube:apiServer": { ...settings, ...change },
});

/** What kubectl says when it is refused. */
async function refused(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run([...kubectlCommand, ...args]);
  assert.notEqual(code, 0, `kubectl ${args.join(" ")} was expected to fail:\n${stdout}`);
  return stderr;
}

/** A file of the test's own, gone with the instance. */
async function file(name: string, content: string): Promise<string> {
  const path = join(cluster.instance.directory, name);
  await writeFile(path, content, { mode: 0o600 });
  return path;
}

async function apply(...objects: object[]): Promise<void> {
  await must([...kubectlCommand, "apply", "-f", "-"], {
    input: JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }),
  });
}

/** An audit event, as far as the tests look at it. */
interface AuditEvent {
  readonly level: string;
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource?: string; readonly subresource?: string; readonly name?: string };
  readonly requestObject?: unknown;
  readonly responseObject?: unknown;
  readonly responseStatus?: { readonly code: number };
}

/** The events of the log whose lines hold a text. */
async function audited(text: string): Promise<AuditEvent[]> {
  const lines = await cluster.onHost("node1", `cat /var/log/plainkube/audit*.log | grep -aF '${text}' || :`);
  return lines.trim() === ""
    ? []
    : lines
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
}

/** A request for a certificate of this subject, in base64. */
const makeRequest = (subject: string) =>
  cluster.onHost(
    "node1",
    `openssl req -new -newkey rsa:2048 -nodes -keyout /dev/null -subj ${subject} 2>/dev/null | base64 -w0`,
  );
const signingRequest = (name: string, request: string) => ({
  apiVersion: "certificates.k8s.io/v1",
  kind: "CertificateSigningRequest",
  metadata: { name },
  spec: { request, signerName: "kubernetes.io/kube-apiserver-client", usages: ["client auth"] },
});

/** Text that occurs nowhere else. */
const marker = (what: string) => `plain-${what}-${"0123456789".repeat(3)}`;
const inEtcd = async (text: string) =>
  (await runOnHost(cluster.instance, "node1", `grep -rqaF '${text}' /var/lib/plainkube/etcd`)).code === 0;

before(async () => {
  const config = await stackConfig("full");
  const example = config["plainkube:apiServer"] as Record<string, unknown>;
  settings = {
    ...example,
    admissionPlugins: {
      ...(example.admissionPlugins as object),
      disable: ["CertificateSubjectRestriction"],
      config: {
        PodSecurity: {
          apiVersion: "pod-security.admission.config.k8s.io/v1",
          kind: "PodSecurityConfiguration",
          defaults: { enforce: "baseline" },
        },
      },
    },
    audit: { ...(example.audit as object), maxSize: 1 },
    egressSelector: { cluster: "unix:///run/egress.sock", controlplane: "direct", etcd: "direct" },
  };
  cluster = await TestCluster.make({ label: "ful", config: { ...config, "plainkube:apiServer": settings } });
  await cluster.up();
  kubectlCommand = await cluster.kubectlCommand();
});

after(async () => {
  for (const proxy of proxies) proxy.kill();
  await cluster.remove();
});

describe("egress", () => {
  test("kubelets are reached through the proxy, with logs and exec as kube-apiserver-kubelet-client", async () => {
    const requests = await startProxy(8131);
    await cluster.onHost(
      "node1",
      `systemd-run --quiet --collect --unit=egress socat UNIX-LISTEN:/run/egress.sock,fork TCP:${lan}:8131`,
    );
    const [pod = ""] = (
      await kubectl(
        ...["get", "pods", "-n", "plainkube-proof", "--field-selector", "spec.nodeName=node2", "-o", "name"],
      )
    ).split("\n");
    assert.notEqual(await kubectl("logs", "-n", "plainkube-proof", pod), "");
    // The workload's image has no program but its own.
    assert.match(await refused("exec", "-n", "plainkube-proof", pod, "--", "none"), /executable file not found/);
    // Beside what the aggregation layer asks add-ons.
    const toKubelets = new Set(requests.filter((to) => to === "ready" || to.endsWith(":10250")));
    assert.deepEqual([...toKubelets].sort(), ["10.90.23.42:10250", "ready"]);
    const reviews = (await audited("subjectaccessreviews")).filter((e) => e.user.username === "system:node:node2");
    const asked = reviews.map((e) => (e.requestObject as { spec: { user: string } }).spec.user);
    // metrics-server asks kubelets itself.
    const others = asked.filter((user) => user !== "system:serviceaccount:kube-system:metrics-server");
    assert.deepEqual([...new Set(others)], ["kube-apiserver-kubelet-client"]);
  });
});

describe("authorization", () => {
  test("refuses what nobody has granted, and names the user", async () => {
    assert.match(
      await refused("get", "secrets", "--as=jane"),
      /User "jane" cannot list resource "secrets" in API group "" in the namespace "default"/,
    );
    const event = (await audited('"username":"jane"')).find((e) => e.objectRef?.resource === "secrets");
    assert.deepEqual([event?.verb, event?.responseStatus?.code], ["list", 403]);
  });

  test("lets a kubelet see the Secrets of its own pods alone, and set no label of others (Node, NodeRestriction)", async () => {
    // With the certificate that it asked for itself.
    const own = hostKubectl("/var/lib/kubelet/kubeconfig.yaml");
    const asKubelet = (args: string) => runOnHost(cluster.instance, "node2", `${own} ${args}`);
    assert.match(
      (await asKubelet("get --raw /api/v1/namespaces/kube-system/secrets")).stderr,
      /Forbidden.*system:node:node2|system:node:node2.*cannot list/,
    );
    assert.equal((await asKubelet("label node node2 example.com/a=b")).code, 0);
    assert.match(
      (await asKubelet("label node node2 node-restriction.kubernetes.io/a=b")).stderr,
      /is not allowed to modify labels: node-restriction\.kubernetes\.io\/a/,
    );
  });
});

/** A webhook that nobody answers: a request that it is asked about fails. */
const webhook = (kind: "Mutating" | "Validating", resource: string) => ({
  apiVersion: "admissionregistration.k8s.io/v1",
  kind: `${kind}WebhookConfiguration`,
  metadata: { name: kind.toLowerCase() },
  webhooks: [
    {
      name: `${kind.toLowerCase()}.example.com`,
      admissionReviewVersions: ["v1"],
      sideEffects: "None",
      clientConfig: { url: "https://10.90.23.42:1/" },
      rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: [resource] }],
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "admission" } },
    },
  ],
});

test("each of the named admission plugins does its work", async () => {
  const namespace = "admission";
  const pod = (name: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace },
    // Never runs: what admission adds to it is looked at.
    spec: {
      nodeSelector: { none: "none" },
      priorityClassName: "system-node-critical",
      containers: [{ name: "c", image: "none.example.com/none:1" }],
    },
  });
  await apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    {
      apiVersion: "v1",
      kind: "LimitRange",
      metadata: { name: "limits", namespace },
      spec: { limits: [{ type: "Container", default: { memory: "32Mi" } }] },
    },
    {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "quota", namespace },
      spec: { hard: { pods: "1" } },
    },
    {
      apiVersion: "storage.k8s.io/v1",
      kind: "StorageClass",
      metadata: { name: "chosen", annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
      provisioner: "example.com/none",
      volumeBindingMode: "WaitForFirstConsumer",
    },
    webhook("Mutating", "configmaps"),
    webhook("Validating", "endpoints"),
  );
  await kubectl("wait", "-n", namespace, "resourcequota/quota", "--for=jsonpath={.status.used.pods}=0");
  await kubectl("wait", "-n", namespace, "serviceaccount/default", "--for=create");
  const claim = {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "claim", namespace },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Mi" } } },
  };
  await apply(pod("first"), claim);
  const fields = [
    ".spec.containers[0].resources.limits.memory",
    ".spec.serviceAccountName",
    ".spec.volumes[0].projected.sources[0].serviceAccountToken.path",
    '.spec.tolerations[?(@.key=="node.kubernetes.io/unreachable")].tolerationSeconds',
    ".spec.priority",
  ];
  const path = `jsonpath=${fields.map((field) => `{${field}}`).join(" ")}`;
  assert.equal(
    await kubectl("get", "pod", "-n", namespace, "first", "-o", path),
    "32Mi default token 300 2000001000",
    "LimitRanger, ServiceAccount, DefaultTolerationSeconds, Priority",
  );
  const given = await kubectl(...["get", "pvc", "-n", namespace, "claim", "-o", "jsonpath={.spec.storageClassName}"]);
  assert.equal(given, "chosen", "DefaultStorageClass");
  const create = ["create", "-n", namespace];
  assert.match(
    await refused(...create, "-f", await file("second.json", JSON.stringify(pod("second")))),
    /exceeded quota: quota/,
  );
  assert.match(await refused("delete", "namespace", "default", "--dry-run=server"), /may not be deleted/);
  assert.match(await refused(...create, "configmap", "a"), /failed calling webhook "mutating\.example\.com"/);
  const endpoints = { apiVersion: "v1", kind: "Endpoints", metadata: { name: "a", namespace } };
  assert.match(
    await refused("create", "-f", await file("endpoints.json", JSON.stringify(endpoints))),
    /failed calling webhook "validating\.example\.com"/,
  );
});

test("a plugin takes its configuration, and one that is disabled refuses nothing", async () => {
  const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "host" } };
  const container = { name: "c", image: "none.example.com/none:1" };
  const onHost = JSON.stringify({ ...pod, spec: { hostNetwork: true, containers: [container] } });
  assert.match(
    await refused("create", "-f", await file("host.json", onHost)),
    /violates PodSecurity "baseline:latest"/,
  );
  const masters = JSON.stringify(signingRequest("masters", await makeRequest("/O=system:masters/CN=jane")));
  const dryRun = ["create", "--dry-run=server", "-o", "name", "-f", await file("masters.json", masters)];
  assert.equal(await kubectl(...dryRun), "certificatesigningrequest.certificates.k8s.io/masters\n");
});

describe("service accounts", () => {
  const issuer = "https://kubernetes.default.svc";

  test("the discovery document names issuer and keys, and tokens are of that issuer", async () => {
    const document = JSON.parse(await kubectl("get", "--raw", "/.well-known/openid-configuration"));
    assert.deepEqual([document.issuer, document.jwks_uri], [issuer, `${issuer}/openid/v1/jwks`]);
    const [, payload = ""] = (await kubectl("create", "token", "default")).split(".");
    assert.equal(JSON.parse(Buffer.from(payload, "base64url").toString()).iss, issuer);
    const keys = JSON.parse(await kubectl("get", "--raw", "/openid/v1/jwks"));
    assert.deepEqual(
      keys.keys.map((k: { kty: string }) => k.kty),
      ["RSA"],
    );
  });

  test("a stored token ends with its Secret (lookup)", async () => {
    const names = ["kept", "gone"];
    const secret = (name: string) => ({
      apiVersion: "v1",
      kind: "Secret",
      type: "kubernetes.io/service-account-token",
      metadata: { name, annotations: { "kubernetes.io/service-account.name": "default" } },
    });
    await apply(...names.map(secret));
    const codes: string[] = [];
    for (const name of names) {
      await kubectl("wait", `secret/${name}`, "--for=jsonpath={.data.token}", "--timeout=20s");
      const token = await kubectl("get", "secret", name, "-o", "go-template={{.data.token | base64decode}}");
      if (name === "gone") await kubectl("delete", "secret", name);
      codes.push(
        await cluster.onHost(
          "node2",
          `curl -sk -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer ${token}' ${node1Api}/apis`,
        ),
      );
    }
    assert.deepEqual(codes, ["200", "401"]);
  });
});

test("browsers may use the API from the named origins alone (CORS)", async () => {
  const allowed = (origin: string) =>
    cluster.onHost(
      "node2",
      `curl -skD - -o /dev/null -H 'Origin: ${origin}' ${node1Api}/readyz | grep -i allow-origin || :`,
    );
  assert.match(await allowed("http://localhost:3000"), /^access-control-allow-origin: http:\/\/localhost:3000\r?\n$/i);
  assert.equal(await allowed("http://localhost.example.com"), "");
});

test("clients are told the external host name", async () => {
  const { serverAddressByClientCIDRs: told } = JSON.parse(await kubectl("get", "--raw", "/api"));
  assert.deepEqual(told, [{ clientCIDR: "0.0.0.0/0", serverAddress: "localhost:6443" }]);
});

test("the Service CIDR is the document's, and a name resolves", async () => {
  const address = ["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"];
  assert.equal(await kubectl(...address), "10.0.0.1");
  const answer = JSON.parse(await cluster.onHost("node2", `curl -sf --max-time 10 ${await cluster.proofUrl()}/peer`));
  assert.ok(answer.peer.pod, "the pod that answered by name");
});

test("the administrator's kubeconfigs work on the host, and are root's alone", async () => {
  for (const name of ["admin", "admin-kube-aggregator"]) {
    const path = `/etc/plainkube/kubeconfig/${name}.yaml`;
    assert.equal(await cluster.onHost("node1", `stat -c '%a %U' ${path}`), "600 root\n");
    const groups = await cluster.onHost(
      "node1",
      `${hostKubectl(`/etc/plainkube/kubeconfig/${name}.yaml`)} get --raw /apis/apiregistration.k8s.io/v1`,
    );
    assert.match(groups, /"kind":"APIService"/);
  }
});

describe("controllers", () => {
  test("act as service accounts of their own", async () => {
    const event = (await audited("system:serviceaccount:kube-system:deployment-controller")).find(
      (e) => e.verb === "create" && e.objectRef?.resource === "replicasets",
    );
    assert.equal(event?.responseStatus?.code, 201);
  });

  test("sign what is approved, with the cluster's authority", async () => {
    const ca = new X509Certificate(await cluster.onHost("node1", "cat /etc/plainkube/pki/ca.crt"));
    await apply(signingRequest("jane", await makeRequest("/O=developers/CN=jane")));
    await kubectl("certificate", "approve", "jane");
    await kubectl("wait", "csr/jane", "--for=jsonpath={.status.certificate}", "--timeout=20s");
    const issued = await kubectl("get", "csr", "jane", "-o", "jsonpath={.status.certificate}");
    const certificate = new X509Certificate(Buffer.from(issued, "base64"));
    assert.match(certificate.subject, /CN=jane/);
    assert.ok(certificate.verify(ca.publicKey));
  });
});

describe("what is written down", () => {
  test("etcd holds no Secret's text, and the audit log neither", async () => {
    const secret = marker("secret");
    await kubectl("create", "configmap", "seen", `--from-literal=a=${marker("configmap")}`);
    await kubectl("create", "secret", "generic", "hidden", `--from-literal=a=${secret}`);
    assert.ok(await inEtcd(marker("configmap")), "what is not encrypted is found");
    assert.ok(!(await inEtcd(secret)), "a Secret is not");
    assert.ok(await inEtcd("k8s:enc:secretbox:v1:key1:"));
    const [seen] = (await audited('"name":"seen"')).filter((e) => e.verb === "create");
    assert.deepEqual([seen?.level, seen?.user.username], ["Request", "kubernetes-admin"]);
    assert.ok(JSON.stringify(seen?.requestObject).includes(marker("configmap")), "bodies are logged otherwise");
    const [hidden] = (await audited('"name":"hidden"')).filter((e) => e.verb === "create");
    assert.deepEqual(
      [hidden?.level, hidden?.requestObject, hidden?.responseObject],
      ["Metadata", undefined, undefined],
    );
    for (const text of [secret, Buffer.from(secret).toString("base64")]) assert.deepEqual(await audited(text), []);
  });

  test("etcd gets objects as protobuf", async () => {
    const found = await cluster.onHost("node1", "grep -rlaP 'k8s\\x00' /var/lib/plainkube/etcd | wc -l");
    assert.notEqual(found, "0\n");
  });

  test("the log is root's alone, and rotated", async () => {
    const modes = await cluster.onHost("node1", "stat -c '%a %U' /var/log/plainkube /var/log/plainkube/audit.log");
    assert.equal(modes, "700 root\n600 root\n");
    assert.match(await cluster.onHost("node1", "ls /var/log/plainkube"), /^audit-.*\.log$/m);
  });
});

describe("a new encryption key, and a proxy with TLS", () => {
  test("restart the API server alone; the new key encrypts, the old one still decrypts", async () => {
    const subject = `-subj /CN=proxy -addext subjectAltName=IP:${lan}`;
    const authority = "-CA /etc/plainkube/pki/ca.crt -CAkey /etc/plainkube/pki/ca.key";
    const request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1";
    const pem = await cluster.onHost(
      "node1",
      `${request} ${subject} ${authority} -keyout /dev/stdout -out /dev/stdout 2>/dev/null`,
    );
    const ca = await file("ca.crt", await cluster.onHost("node1", "cat /etc/plainkube/pki/ca.crt"));
    const pair = await file("proxy.pem", pem);
    const requests = await startProxy(8132, pair, pair, ca);
    await cluster.onHost("node1", "systemctl stop egress");
    const egressSelector = { cluster: `https://${lan}:8132` };
    const raised = apiServer({ egressSelector, encryption: { generation: 2 } });
    await cluster.stack.configure(raised);
    const earlier = await cluster.invocations();
    await cluster.up();
    // The watch of plainkube-routes ends with the API server, and it starts again by itself.
    const restarted = (await cluster.restartedSince(earlier)).filter((unit) => !unit.endsWith(" plainkube-routes"));
    assert.deepEqual(restarted, ["node1 kube-apiserver"]);

    const value = await kubectl("get", "secret", "hidden", "-o", "go-template={{.data.a | base64decode}}");
    assert.equal(value, marker("secret"));
    assert.ok(!(await inEtcd("k8s:enc:secretbox:v1:key2:")));
    await kubectl("create", "secret", "generic", "newer", "--from-literal=a=b");
    assert.ok(await inEtcd("k8s:enc:secretbox:v1:key2:"));

    const [pod = ""] = await cluster.proofPods(".metadata.name");
    assert.notEqual(await kubectl("logs", "-n", "plainkube-proof", pod), "");
    assert.ok(requests.some((to) => to.endsWith(":10250")));

    // The key that a lower generation drops has encrypted something.
    await cluster.stack.configure(apiServer({ egressSelector, encryption: { generation: 1 } }));
    assert.match(
      await cluster.failingUp(),
      /encryption\.generation, which only rises\s+got: +1\s+expected: at least 2/,
    );
    await cluster.stack.configure(raised);
  });

  test("a second up changes and restarts nothing", () => cluster.assertNothingToDo());

  test("destroy leaves the hosts as they were", () => cluster.assertGivenBack());
});
