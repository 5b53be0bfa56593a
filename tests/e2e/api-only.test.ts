import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { atLeast } from "../../components/versions.ts";
import { insideLan } from "../../lab/instance.ts";
import { type CommandResult, must, run } from "../../lab/shell.ts";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "./harness.ts";

/**
 * etcd and kube-apiserver alone, with two users, on an instance of the lab of its own. The tests follow each other; each
 * takes the system as the one before left it.
 */

const viewer = "viewer";
const editor = "editor@example.com";
const pod = `
apiVersion: v1
kind: Pod
metadata: { name: nginx }
spec: { containers: [{ name: nginx, image: "nginx:1.14.2", ports: [{ containerPort: 80 }] }] }
`;

let cluster: TestCluster;
let version: string;
/** Whether requests without a certificate are let in nowhere but at the health checks; else it is RBAC that refuses them. */
let closed: boolean;
let userKubeconfigs: Readonly<Record<string, string>>;

before(async () => {
  const config = await stackConfig("api-only");
  version = (config["plainkube:versions"] as { kubernetes: string }).kubernetes;
  closed = atLeast(version, "1.34");
  cluster = await TestCluster.make({ label: "api", config, units: { node1: ["etcd", "kube-apiserver"] } });
});

after(() => cluster.remove());

/** Asks with a kubeconfig: a user's own, or the administrator's by default. */
async function ask(kubeconfig: string | undefined, args: readonly string[], input = ""): Promise<CommandResult> {
  return run([...(await cluster.kubectlCommand(kubeconfig)), ...args], { input });
}

async function allows(who: string, ...args: string[]): Promise<string> {
  const result = await ask(userKubeconfigs[who], args);
  assert.equal(result.code, 0, `${who}: ${args.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

async function refuses(who: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await ask(userKubeconfigs[who], args);
  assert.notEqual(code, 0, `${who}: ${args.join(" ")}`);
  assert.match(stderr, new RegExp(`is forbidden: User "${who}" cannot`));
}

test("an up from a bare host proves each user's rights", async () => {
  assert.doesNotMatch(await cluster.up(), /warning/);
  const outputs = await cluster.stack.outputs();
  assert.deepEqual(Object.keys(outputs).sort(), [
    ...["apiEndpoint", "certificateExpiry", "kubeconfig", "userKubeconfigs", "userRequests", "versions"],
  ]);
  userKubeconfigs = outputs.userKubeconfigs as Record<string, string>;
  const said = (outputs.userRequests as string[]).map((line) => line.replace(/ \(\d+\)$/, ""));
  assert.deepEqual(said, [
    "kubernetes-admin: list namespaces: allowed",
    "anonymous: list namespaces: refused",
    `${viewer}: list pods in default: allowed`,
    `${viewer}: list secrets in default: refused`,
    `${viewer}: list roles in default: refused`,
    `${viewer}: list namespaces: refused`,
    `${editor}: list pods in default: allowed`,
    `${editor}: list secrets in default: allowed`,
    `${editor}: list roles in default: refused`,
    `${editor}: list namespaces: allowed`,
  ]);
  const shown = JSON.parse(await cluster.pulumi("stack", "output", "--json"));
  assert.deepEqual([shown.kubeconfig, shown.userKubeconfigs], ["[secret]", "[secret]"]);
});

test("only etcd and kube-apiserver are there, with the certificates of these two", async () => {
  const units = "systemctl list-units --plain --no-legend 'etcd*' 'kube*' 'plainkube*' | awk '{ print $1, $3 }'";
  assert.equal(await cluster.onHost("node1", units), "etcd.service active\nkube-apiserver.service active\n");
  assert.equal(await cluster.onHost("node1", "ls /opt/plainkube/bin"), "etcd\nkube-apiserver\n");
  const files = await cluster.onHost("node1", "cd /etc/plainkube && find . -type f -printf '%P\\n' | sort");
  const pairs = ["apiserver", "apiserver-etcd-client", "etcd/peer", "etcd/server", "front-proxy-client"];
  const pki = ["ca.crt", "etcd/ca.crt", "front-proxy-ca.crt", "sa.key", "sa.pub"];
  const expected = [...pki, ...pairs.flatMap((name) => [`${name}.crt`, `${name}.key`])].map((name) => `pki/${name}`);
  assert.deepEqual(
    files.trim().split("\n").sort(),
    [
      ...(closed ? ["authentication.yaml"] : []),
      "audit-policy.yaml",
      "encryption.yaml",
      "etcd.yaml",
      ...expected,
    ].sort(),
  );
});

test("the serving certificate holds the names of the document", async () => {
  const shell =
    "openssl s_client -connect 10.90.23.41:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName";
  const text = await must([...insideLan(cluster.instance), "sh", "-c", shell]);
  const names = ["", ".default", ".default.svc", ".default.svc.cluster", ".default.svc.cluster.local"];
  for (const san of [...names.map((name) => `DNS:kubernetes${name}`), "IP Address:127.0.0.1", "IP Address:10.96.0.1"]) {
    assert.ok(
      text.split(/[,\n]/).some((part) => part.trim() === san),
      `${san} in ${text}`,
    );
  }
});

test("each user may do what the bindings say, and nobody else anything", async () => {
  await allows(viewer, "get", "pods");
  await refuses(viewer, "get", "secrets");
  await refuses(viewer, "get", "pods", "-n", "kube-system");
  await refuses(viewer, "create", "configmap", "letter");
  await allows(editor, "create", "configmap", "letter", "-n", "kube-public", "--from-literal=text=a-value-to-be-found");
  await refuses(editor, "get", "clusterroles");
  const status = (path: string) =>
    cluster.onHost("node1", `curl -sk -o /dev/null -w '%{http_code}' https://10.90.23.41:6443${path}`);
  assert.deepEqual([await status("/readyz"), await status("/api/v1/namespaces")], ["200", closed ? "401" : "403"]);
});

test("every group of a user counts", async () => {
  await cluster.kubectl("create", "clusterrole", "reads-roles", "--verb=list", "--resource=clusterroles");
  for (const group of ["developers", "team:api"]) {
    await cluster.kubectl("create", "clusterrolebinding", "reads", "--clusterrole=reads-roles", `--group=${group}`);
    await until(async () => (await ask(userKubeconfigs[editor], ["get", "clusterroles"])).code === 0, group);
    await cluster.kubectl("delete", "clusterrolebinding", "reads", "--cascade=background");
    await until(async () => (await ask(userKubeconfigs[editor], ["get", "clusterroles"])).code !== 0, group);
  }
});

/** A change of rights is in force a moment after it is stored. */
async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; !(await condition()); ) {
    assert.ok(Date.now() < deadline, `${what}: not within 10 s`);
  }
}

test("one kubeconfig holds a context for each, and the administrator's is the current one", async () => {
  const contexts = (await cluster.kubectl("config", "get-contexts", "-o", "name")).trim().split("\n");
  assert.deepEqual(contexts.sort(), [`${editor}@api-only`, "kubernetes-admin@api-only", `${viewer}@api-only`]);
  assert.equal((await cluster.kubectl("config", "current-context")).trim(), "kubernetes-admin@api-only");
  const { stderr } = await ask(undefined, ["--context", `${viewer}@api-only`, "get", "nodes"]);
  assert.match(stderr, /User "viewer" cannot list resource "nodes"/);
});

test("a pod with the default ServiceAccount is accepted and stays Pending, and etcd holds what was written", async () => {
  const made = await ask(userKubeconfigs[editor], ["create", "-f", "-"], pod);
  assert.equal(made.code, 0, made.stderr);
  const fields = "jsonpath={.status.phase} {.spec.serviceAccountName} {.spec.nodeName}";
  assert.equal(await cluster.kubectl("get", "pod", "nginx", "-o", fields), "Pending default ");
  const stored = await cluster.onHost(
    "node1",
    "grep -rahoE '/registry/(pods/default/nginx|configmaps/kube-public/letter)|a-value-to-be-found' /var/lib/plainkube/etcd/member/wal | sort -u",
  );
  assert.equal(stored, "/registry/configmaps/kube-public/letter\n/registry/pods/default/nginx\na-value-to-be-found\n");
});

test("kubectl proxy answers with the version and the OpenAPI document", async () => {
  const [program = "", ...args] = [...(await cluster.kubectlCommand()), "proxy", "--port=8001"];
  const proxy = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(proxy, "close");
  try {
    await Promise.race([once(proxy.stdout, "data"), ended]);
    const get = async (path: string) =>
      JSON.parse(await must([...insideLan(cluster.instance), "curl", "-sSf", `http://127.0.0.1:8001${path}`]));
    assert.equal((await get("/version")).gitVersion, `v${version}`);
    const { swagger, definitions } = await get("/openapi/v2");
    assert.equal(swagger, "2.0");
    assert.ok(definitions["io.k8s.api.core.v1.Pod"].properties.spec, "a Pod is described");
  } finally {
    proxy.kill();
    await ended;
  }
});

test("a second up changes nothing", () => cluster.assertNothingToDo());

test("a binding to a role that is not there is refused, and a user who is removed has no rights any more", async () => {
  const [first, second] = cluster.config["plainkube:users"] as Record<string, unknown>[];
  await cluster.stack.configure({
    ...cluster.config,
    "plainkube:users": [first, { ...second, bindings: [{ clusterRole: "edti" }] }],
  });
  assert.match(await cluster.failingUp(), /plainkube:users binds ClusterRoles that are not there: edti/);
  const earlier = await cluster.invocations();
  await cluster.stack.configure({ ...cluster.config, "plainkube:users": [second] });
  await cluster.up();
  await until(async () => (await ask(userKubeconfigs[viewer], ["get", "pods"])).code !== 0, "without a binding");
  await refuses(viewer, "get", "pods");
  await allows(editor, "get", "pods");
  assert.deepEqual(await cluster.restartedSince(earlier), []);
});

test("the host stays with its system for life", async () => {
  await cluster.stack.configure({
    ...cluster.config,
    "plainkube:system": "cluster",
    "plainkube:hosts": [{ name: "node1", address: "10.90.23.41", roles: ["control-plane", "worker"] }],
    "plainkube:runtime": { allowCgroupV1: true },
  });
  const output = await cluster.failingUp();
  assert.match(
    output,
    /a setting that a cluster keeps for life\s+got: +podCidr .*\s+expected: podCidr .* system api-only\s/,
  );
  await cluster.stack.configure(cluster.config);
});

test("destroy gives the host back", () => cluster.assertGivenBack());
