/**
 * What the program registers with the engine, for a few clusters and the API alone. Engine, plugins and hosts are stand-ins (program.ts): these
 * tests prove names, order of ownership, certificates and the marking of secrets, not that a host accepts a script, that the
 * engine keeps a marked secret encrypted, or that a certificate is issued as asked for.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { before, test } from "node:test";
import * as pulumi from "@pulumi/pulumi";
import { parse } from "yaml";
import { packed, unpacked } from "../../components/host/pack.ts";
import { modeOf } from "../../components/host/shipment.ts";
import type { ClusterSpec } from "../../components/spec.ts";
import { makeKey } from "../plugin/sshd.ts";
import {
  customConfig,
  devConfig,
  directory,
  exampleConfig,
  flannelConfig,
  hostKey,
  key,
  type RawConfig,
  specOf,
} from "../unit/clusters.ts";
import { assertGolden } from "../unit/golden.ts";
import { payloadsOf } from "../unit/payloads.ts";
import { isSecret, keyMarker, type Outcome, plain, type Registered, rsaKey, runProgram } from "./program.ts";

const passphrase = "the-passphrase-of-the-key";
const encrypted = await makeKey(join(directory, "encrypted"), passphrase);
const modules = { source: "modules" };

const configs: Record<string, RawConfig> = {
  dev: { ...devConfig(), binaries: modules },
  flannel: { ...flannelConfig(), clusterName: "flannel", binaries: modules },
  custom: {
    ...customConfig(),
    binaries: modules,
    ssh: {
      ...(customConfig().ssh as object),
      privateKeyFile: encrypted.path,
      privateKeyPassword: passphrase,
      jump: { address: "jump.example.com", user: "hop", port: 2200, hostKey },
    },
  },
  "api-only": { ...exampleConfig("api-only"), binaries: modules },
};
const clusters = new Map<string, Outcome>();
before(async () => {
  for (const [name, config] of Object.entries(configs)) clusters.set(name, await runProgram(config));
});

function resourcesOf(cluster: string): readonly Registered[] {
  const found = clusters.get(cluster);
  assert.ok(found);
  return found.resources;
}

const command = "command:remote:Command";
const upload = "command:local:Command";
const shortName = (urn: string) => urn.split("::").at(-1) ?? "";
const ofType = (cluster: string, type: string) => resourcesOf(cluster).filter((r) => r.type === type);
const each = (check: (cluster: string) => void) => {
  for (const cluster of Object.keys(configs)) check(cluster);
};

test("names, types and parents stay as they are: others would replace what runs", async () => {
  const lists = Object.keys(configs).map((cluster) => {
    const lines = resourcesOf(cluster).map((r) => `${r.type} ${r.name}${r.parent ? ` < ${shortName(r.parent)}` : ""}`);
    assert.equal(new Set(resourcesOf(cluster).map((r) => r.urn)).size, lines.length, "no URN twice");
    return [`${cluster}.txt`, `${lines.sort().join("\n")}\n`];
  });
  await assertGolden("resources", Object.fromEntries(lists));
});

test("all that is nobody's child is one of the runbook's steps, the cluster's number, or what waits for all hosts", () => {
  const all = ["access", "addons", "binaries", "control-plane", "dns", "host", "node", "pki", "proof", "users"];
  each((cluster) => {
    const alone = [...all.filter((step) => !["dns", "node", "proof"].includes(step))];
    const steps = cluster === "api-only" ? alone : all;
    const tops = resourcesOf(cluster).filter((r) => r.parent === "");
    const concerns = tops.map((r) => (r.type.startsWith("plainkube:") ? r.type.split(":")[1] : `${r.type} ${r.name}`));
    const waits = specOf({ ...configs[cluster] }).hosts.length > 8 ? ["hosts-ready"] : [];
    const numbers = ["cluster", ...waits].map((name) => `random:index/randomId:RandomId ${name}`);
    assert.deepEqual([...new Set(concerns)].sort(), [...steps, ...numbers].sort());
  });
});

/** What must never be seen: the middle of the SSH key, its passphrase, and what stands for every private key. */
const body = (pem: string) => pem.split("\n")[2] ?? "";
const markers = [body(key.privateKey), body(encrypted.privateKey), passphrase, keyMarker(""), body(rsaKey.privateKey)];

/** Whether a text holds a secret, packed or in whatever many layers of base64. */
function leaks(packedText: string, depth = 3): boolean {
  const text = unpacked(packedText);
  if (markers.some((marker) => text.includes(marker))) return true;
  if (depth === 0) return false;
  const words = text.match(/[A-Za-z0-9+/]{16,}={0,2}/g) ?? [];
  return words.some((word) => leaks(Buffer.from(word, "base64").toString("latin1"), depth - 1));
}

/** Every text in a value that would be stored and shown as it is. */
function* visible(value: unknown, path: string): Generator<[string, string]> {
  if (isSecret(value)) return;
  if (typeof value === "string") yield [path, value];
  else if (typeof value === "object" && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      yield [`${path} (name)`, name];
      yield* visible(inner, `${path}.${name}`);
    }
  }
}

test("the check for secrets finds them", () => {
  const twice = Buffer.from(Buffer.from(`--- ${keyMarker("x")} ---`).toString("base64")).toString("base64");
  assert.ok(
    leaks(`a ${twice} b`) && leaks(key.privateKey) && leaks(packed(`echo ${keyMarker("x")}`)) && !leaks(key.publicKey),
  );
  assert.ok(markers.every((m) => m.length > 15));
});

test("no secret is in any input that is not marked as one", () => {
  each((cluster) => {
    let marked = 0;
    for (const r of resourcesOf(cluster)) {
      marked += Object.values(r.inputs).filter((v) => isSecret(v) && leaks(JSON.stringify(v))).length;
      for (const [path, text] of visible(r.inputs, r.name)) assert.ok(!leaks(text), `${cluster}: ${path}`);
    }
    assert.ok(marked > 15, `${marked} secrets are there, and marked`);
  });
});

test("of a shipment's content, only a hash is stored plainly", () => {
  each((cluster) => {
    const attempts = ofType(cluster, "random:index/randomId:RandomId").filter((r) => r.inputs.keepers);
    assert.equal(attempts.length, ofType(cluster, command).filter((r) => r.name.endsWith("-apply")).length);
    for (const { name, inputs } of attempts) {
      for (const [what, text] of visible(inputs.keepers, name)) {
        if (!what.endsWith("(name)")) assert.match(text, /^[0-9a-f]{64}$/, what);
      }
    }
  });
});

test("no secret is in a command line or an environment, marked or not", () => {
  each((cluster) => {
    for (const { name, inputs } of [...ofType(cluster, command), ...ofType(cluster, upload)]) {
      for (const field of ["create", "update", "delete", "environment", "triggers", "dir", "interpreter"]) {
        assert.ok(!leaks(JSON.stringify(plain(inputs[field])) ?? ""), `${cluster}: ${name}.${field}`);
      }
      assert.equal(inputs.addPreviousOutputInEnv, false, `${name} hands its output on in the environment`);
    }
  });
});

const settled = (value: unknown) =>
  new Promise<unknown>((resolve) => pulumi.output(value as pulumi.Input<object>).apply(resolve));

test("kubeconfigs are secret outputs, and no other output holds a key", async () => {
  for (const cluster of Object.keys(configs)) {
    for (const [name, value] of Object.entries(clusters.get(cluster)?.outputs ?? {})) {
      const text = JSON.stringify(await settled(value));
      const secret = ["kubeconfig", "userKubeconfigs"].includes(name);
      assert.equal(
        await pulumi.isSecret(pulumi.output(value as pulumi.Input<object>)),
        secret,
        `${cluster}: ${name} is a secret`,
      );
      assert.equal(leaks(text), secret, `${cluster}: ${name} holds a key`);
    }
  }
});

test("the outputs", async () => {
  const { outputs } = clusters.get("dev") ?? assert.fail();
  const names = ["apiEndpoint", "certificateExpiry", "kubeconfig", "serviceAddress", "serviceAnswers", "versions"];
  assert.deepEqual(Object.keys(outputs).sort(), names);
  const value = (name: string) => settled(outputs[name]);
  assert.equal(await value("apiEndpoint"), "https://10.90.23.41:6443");
  assert.equal(await value("serviceAddress"), "10.96.7.7");
  assert.deepEqual(await value("serviceAnswers"), { node1: "output of proof-node1", node2: "output of proof-node2" });
  const shortest = Math.min(
    ...ofType("dev", "tls:index/locallySignedCert:LocallySignedCert").map((r) => r.name.length),
  );
  assert.equal(await value("certificateExpiry"), `2030-01-01T00:00:${shortest}Z`, "the first of all ends");
  const kubeconfig = parse(String(await value("kubeconfig")));
  const decoded = (text: string) => Buffer.from(text, "base64").toString();
  assert.match(decoded(kubeconfig.clusters[0].cluster["certificate-authority-data"]), /pki-kubernetes-ca-cert/);
  assert.match(decoded(kubeconfig.users[0].user["client-certificate-data"]), /pki-admin-cert/);
  assert.match(decoded(kubeconfig.users[0].user["client-key-data"]), /pki-admin-key/);
});

/** A certificate as it is asked for. */
interface Asked {
  readonly ca: string;
  readonly cn: string;
  readonly o?: string | readonly string[];
  readonly uses: readonly string[];
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
}

const nodeClient = (name: string): Record<string, Asked> => ({
  [`node-${name}-client`]: { ca: "kubernetes", cn: `system:node:${name}`, o: "system:nodes", uses: ["client_auth"] },
});

const nodeCertificates = (name: string, address: string): Record<string, Asked> => ({
  ...nodeClient(name),
  [`node-${name}-serving`]: {
    ca: "kubernetes",
    cn: `system:node:${name}`,
    o: "system:nodes",
    uses: ["server_auth"],
    dns: [name],
    ip: [address],
  },
});

const userCertificates = (users: Record<string, readonly string[]>): Record<string, Asked> =>
  Object.fromEntries(
    Object.entries(users).map(([cn, groups]) => [
      `user-${cn}`,
      { ca: "kubernetes", cn, o: groups, uses: ["client_auth"] },
    ]),
  );

const clusterCertificates = (name: string, address: string, dns: string[], ip: string[]): Record<string, Asked> => ({
  admin: { ca: "kubernetes", cn: "kubernetes-admin", o: "system:masters", uses: ["client_auth"] },
  apiserver: {
    ca: "kubernetes",
    cn: "kube-apiserver",
    uses: ["server_auth"],
    dns: ["kubernetes", "kubernetes.default", "kubernetes.default.svc", ...dns],
    ip: ["127.0.0.1", address, ...ip],
  },
  "apiserver-etcd-client": { ca: "etcd", cn: "kube-apiserver-etcd-client", uses: ["client_auth"] },
  "apiserver-kubelet-client": { ca: "kubernetes", cn: "kube-apiserver-kubelet-client", uses: ["client_auth"] },
  "controller-manager": { ca: "kubernetes", cn: "system:kube-controller-manager", uses: ["client_auth"] },
  "etcd-peer": { ca: "etcd", cn: name, uses: ["server_auth", "client_auth"], dns: [name], ip: [address] },
  "etcd-server": {
    ca: "etcd",
    cn: name,
    uses: ["server_auth"],
    dns: [name, "localhost"],
    ip: ["127.0.0.1", address],
  },
  "front-proxy-client": { ca: "front-proxy", cn: "front-proxy-client", uses: ["client_auth"] },
  proxy: { ca: "kubernetes", cn: "system:kube-proxy", uses: ["client_auth"] },
  scheduler: { ca: "kubernetes", cn: "system:kube-scheduler", uses: ["client_auth"] },
});

const devCertificates: Record<string, Asked> = {
  ...clusterCertificates(
    "node1",
    "10.90.23.41",
    ["kubernetes.default.svc.cluster.local", "node1", "localhost"],
    ["10.96.0.1"],
  ),
  ...nodeCertificates("node1", "10.90.23.41"),
  ...nodeCertificates("node2", "10.90.23.42"),
};

const certificates: Record<string, Record<string, Asked>> = {
  dev: devCertificates,
  flannel: { ...devCertificates, flannel: { ca: "kubernetes", cn: "plainkube:flannel", uses: ["client_auth"] } },
  custom: {
    ...clusterCertificates(
      "cp",
      "172.31.5.10",
      ["kubernetes.default.svc.k8s.example.com", "cp", "localhost", "api.example.com"],
      ["172.30.0.1", "192.0.2.1"],
    ),
    // Kubelets ask the cluster for the certificates that they serve with.
    ...nodeClient("worker-a"),
    ...nodeClient("worker-b"),
    "kubelet-serving-approver": {
      ca: "kubernetes",
      cn: "plainkube:kubelet-serving-approver",
      uses: ["client_auth"],
    },
    "metrics-server": {
      ca: "kubernetes",
      cn: "metrics-server",
      uses: ["server_auth"],
      dns: ["metrics-server.kube-system.svc"],
    },
    ...userCertificates({ "Jane.Doe@example.com": ["team:a", "developers"], joe: ["guests"] }),
  },
  // None for kubelets, kube-proxy and controllers.
  "api-only": {
    ...Object.fromEntries(
      Object.entries(
        clusterCertificates(
          "node1",
          "10.90.23.41",
          ["kubernetes.default.svc.cluster.local", "node1", "localhost", "kubernetes.default.svc.cluster"],
          ["10.96.0.1"],
        ),
      ).filter(([id]) => !["apiserver-kubelet-client", "controller-manager", "proxy", "scheduler"].includes(id)),
    ),
    ...userCertificates({ viewer: ["readers"], "editor@example.com": ["developers", "team:api"] }),
  },
};

test("authorities are renewed in time, too, with the keys that they have", () => {
  each((cluster) => {
    const authorities = ofType(cluster, "tls:index/selfSignedCert:SelfSignedCert");
    assert.ok(authorities.length > 0);
    for (const { inputs } of authorities) {
      assert.deepEqual([inputs.validityPeriodHours, inputs.earlyRenewalHours], [87600, 720]);
    }
  });
});

test("every certificate has the names and usages that it needs, and no more", () => {
  each((cluster) => {
    const requests = new Map(ofType(cluster, "tls:index/certRequest:CertRequest").map((r) => [r.name, r.inputs]));
    const asked = ofType(cluster, "tls:index/locallySignedCert:LocallySignedCert").map((r): [string, Asked] => {
      const id = r.name.replace(/^pki-(.*)-cert$/, "$1");
      assert.equal(r.inputs.isCaCertificate, undefined, `${r.name} may sign nothing`);
      assert.deepEqual([r.inputs.validityPeriodHours, r.inputs.earlyRenewalHours], [8760, 720]);
      const ca = /pki-(.*)-ca-cert/.exec(String(r.inputs.caCertPem))?.[1] ?? "";
      assert.ok(
        String(plain(r.inputs.caPrivateKeyPem)).includes(keyMarker(`pki-${ca}-ca-key`)),
        "key and certificate match",
      );
      const [first, ...uses] = r.inputs.allowedUses as string[];
      assert.equal(first, "digital_signature");
      if (id.startsWith("user-")) return [id, { ca, ...subjectOf(String(r.inputs.certRequestPem)), uses }];
      const request = requests.get(`pki-${id}-request`) ?? assert.fail(`${r.name} has no request`);
      const { commonName, organization, ...rest } = request.subject as Record<string, string>;
      assert.deepEqual(rest, {}, "nothing else in the subject");
      assert.deepEqual(
        Object.keys(request).filter((k) => !/^(subject|privateKeyPem|dnsNames|ipAddresses)$/.test(k)),
        [],
      );
      assert.equal(r.inputs.certRequestPem, `request pki-${id}-request`);
      return [
        id,
        {
          ca,
          cn: commonName ?? "",
          ...(organization && { o: organization }),
          uses,
          ...(request.dnsNames ? { dns: request.dnsNames as string[] } : {}),
          ...(request.ipAddresses ? { ip: request.ipAddresses as string[] } : {}),
        },
      ];
    });
    assert.deepEqual(Object.fromEntries(asked.sort()), sorted(certificates[cluster] ?? {}));
  });
});
/** Name and groups in a certificate request, as OpenSSL reads and verifies it. */
function subjectOf(request: string): { readonly cn: string; readonly o: readonly string[] } {
  const args = ["req", "-verify", "-noout", "-subject", "-nameopt", "multiline,-align"];
  const { status, stdout, stderr } = spawnSync("openssl", args, { input: request, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  assert.match(stderr, /verify OK/);
  const values = (field: string) =>
    [...stdout.matchAll(new RegExp(`^ *${field} = (.*)$`, "gm"))].map((m) => m[1] ?? "");
  const [cn = "", ...others] = values("commonName");
  assert.deepEqual(others, []);
  return { cn, o: values("organizationName") };
}

const sorted = (record: object) => Object.fromEntries(Object.entries(record).sort());

test("the three authorities only sign, and every key is of its own and of a kind that Go's TLS takes", () => {
  each((cluster) => {
    const authorities = ofType(cluster, "tls:index/selfSignedCert:SelfSignedCert");
    assert.deepEqual(
      authorities.map((r) => [r.name, (r.inputs.subject as { commonName: string }).commonName]).sort(),
      ["etcd", "front-proxy", "kubernetes"].map((ca) => [`pki-${ca}-ca-cert`, `${ca}-ca`]),
    );
    for (const { inputs } of authorities) {
      assert.equal(inputs.isCaCertificate, true);
      assert.deepEqual(inputs.allowedUses, ["cert_signing"]);
      assert.equal(inputs.validityPeriodHours, 87600);
    }
    const keys = ofType(cluster, "tls:index/privateKey:PrivateKey");
    const count = Object.keys(certificates[cluster] ?? {}).length + authorities.length + 1;
    assert.equal(keys.length, count, "a key for each certificate, and one for service accounts");
    for (const { name, inputs } of keys) {
      const rsa = { algorithm: "RSA", rsaBits: 2048 };
      // Signatures of RSA keys are the same each time: the program makes users' certificate requests at each run.
      const isRsa = /^pki-(service-account|user-.*)-key$/.test(name);
      const expected = isRsa ? rsa : { algorithm: "ECDSA", ecdsaCurve: "P256" };
      assert.deepEqual(inputs, expected, name);
    }
  });
});

/** The host that a command is for: that of its connection or upload. */
function addressOf({ type, inputs }: Registered): string {
  if (type === command) return (plain(inputs.connection) as { host: string }).host;
  const { PLAINKUBE_UPLOAD } = plain(inputs.environment) as { PLAINKUBE_UPLOAD: string };
  return JSON.parse(PLAINKUBE_UPLOAD).endpoint.host;
}

function rootOf(cluster: string, address: string): Registered {
  return (
    ofType(cluster, command).find((r) => r.name.endsWith(`-root-${address}`)) ?? assert.fail(`no root for ${address}`)
  );
}

test("a host's root is made first and removed last; all else on the host goes with it", () => {
  each((cluster) => {
    for (const r of [...ofType(cluster, command), ...ofType(cluster, upload)]) {
      if (isLeave(r)) continue;
      const root = rootOf(cluster, addressOf(r));
      if (r === root) {
        assert.deepEqual([r.deletedWith, r.ignoreChanges], ["", ["create"]]);
        assert.deepEqual(r.dependencies.map(shortName), ["cluster"], "nothing of a host comes before it");
        assert.ok(r.inputs.delete && r.inputs.update);
        continue;
      }
      assert.equal(r.deletedWith, root.urn, r.name);
      const remove = /^if .*exec bash -s -- (control-plane|controllers|runtime|node) remove; else/;
      if (r.name.endsWith("-apply")) assert.match(String(plain(r.inputs.delete)), remove, r.name);
      else assert.equal(r.inputs.delete, undefined, `${r.name} leaves the reset to the root`);
      assert.equal(r.inputs.triggers, undefined, `${r.name} is never replaced, as a replacement would run twice`);
      assert.deepEqual(r.ignoreChanges, []);
      assert.ok(reaches(cluster, r, root.urn), `${r.name} waits for its root`);
    }
  });
});

const isLeave = ({ name }: Registered) => name.endsWith("-leave");

test("a worker that goes leaves the cluster on the control plane's host, before its own is reset, unless all goes", () => {
  each((cluster) => {
    const spec = specOf({ ...configs[cluster] });
    const leaving = ofType(cluster, command).filter(isLeave);
    const workers = spec.hosts.filter((host) => host.isWorker && !host.isControlPlane);
    assert.deepEqual(leaving.map((r) => r.name).sort(), workers.map((host) => `${host.name}-leave`).sort());
    const controlPlane = rootOf(cluster, spec.controlPlane.address);
    for (const r of leaving) {
      assert.equal(addressOf(r), spec.controlPlane.address);
      assert.equal(r.deletedWith, controlPlane.urn);
      assert.ok(r.inputs.delete && !r.inputs.create && !r.inputs.update, "nothing runs while the host stays");
      assert.ok(isSecret(r.inputs.stdin), "the administrator's credential is in it");
      const own = workers.find((host) => r.name === `${host.name}-leave`);
      assert.ok(r.dependencies.includes(rootOf(cluster, own?.address ?? "").urn));
    }
  });
});

test("keys are asked for when all hosts are claimed, where they are few", async () => {
  for (const [count, waitsFor] of [
    [2, 2],
    [4, 4],
    [5, 0],
  ] as const) {
    const resources = await programOf(count);
    const claims = resources.filter((r) => r.type === command && r.name.includes("-claim-")).map(({ urn }) => urn);
    assert.equal(claims.length, count);
    const pki = resources.find((r) => r.name === "pki") ?? assert.fail();
    assert.deepEqual([...pki.dependencies].sort(), claims.slice(0, waitsFor).sort());
    // What has a parent waits for it.
    const keys = resources.filter((r) => r.type.startsWith("tls:"));
    assert.ok(keys.length > 0);
    for (const key of keys) assert.equal(key.parent, pki.urn, key.name);
  }
});

/** What the program declares with so many hosts, all of them workers. */
async function programOf(count: number): Promise<readonly Registered[]> {
  const hosts = Array.from({ length: count }, (_, i) => ({
    name: `node${i + 1}`,
    address: `10.90.23.${41 + i}`,
    roles: i === 0 ? ["control-plane", "worker"] : ["worker"],
    hostKey,
  }));
  return (await runProgram({ ...devConfig(), hosts, binaries: modules })).resources;
}

test("a host is changed when every host was found ready, and claimed before anything else comes to it", () => {
  each((cluster) => {
    const commands = [...ofType(cluster, command), ...ofType(cluster, upload)];
    const isRoot = (r: Registered) => / preflight/.test(String(plain(r.inputs.update)));
    const roots = commands.filter(isRoot);
    assert.equal(roots.length, specOf({ ...configs[cluster] }).hosts.length);
    for (const r of commands.filter((r) => !isRoot(r))) {
      for (const root of roots) assert.ok(reaches(cluster, r, root.urn), `${r.name} waits for ${root.name}`);
      const claim = commands.find((c) => c.name.endsWith(`-claim-${addressOf(r)}`)) ?? assert.fail(r.name);
      assert.ok(r === claim || reaches(cluster, r, claim.urn), `${r.name} waits for ${claim.name}`);
    }
  });
});

/** Whether a resource waits for another, directly or not. */
function reaches(cluster: string, from: Registered, urn: string): boolean {
  const byUrn = new Map(resourcesOf(cluster).map((r) => [r.urn, r]));
  const seen = new Set<string>();
  const open = [...from.dependencies];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next === urn) return true;
    if (!seen.has(next)) open.push(...(byUrn.get(next)?.dependencies ?? []));
    seen.add(next);
  }
  return false;
}

test("what is inside the cluster goes with the control plane's host, through one provider", () => {
  each((cluster) => {
    const [provider, ...others] = ofType(cluster, "pulumi:providers:kubernetes");
    assert.ok(provider && others.length === 0);
    const { controlPlane } = specOf({ ...configs[cluster] });
    const root = rootOf(cluster, controlPlane.address);
    const inside = resourcesOf(cluster).filter((r) => r.type.startsWith("kubernetes:"));
    assert.ok(inside.length >= (cluster === "api-only" ? 6 : 9));
    for (const r of inside) {
      assert.equal(r.deletedWith, root.urn, r.name);
      assert.ok(r.provider.startsWith(`${provider.urn}::`), `${r.name} uses the provider`);
    }
    assert.equal(provider.inputs.clusterIdentifier, cluster, "constant, whatever the certificates");
    assert.ok(isSecret(provider.inputs.kubeconfig));
    const apply = ofType(cluster, command).find((r) => r.name.endsWith("control-plane-shipment-apply"));
    assert.ok(apply && reaches(cluster, provider, apply.urn), "the provider waits for the API");
  });
});

test("flanneld starts when its rights are granted: its unit would fail before", () => {
  const granted = resourcesOf("flannel").find((r) => r.name === "access-flannel-binding") ?? assert.fail("no binding");
  const nodes = ofType("flannel", command).filter((r) => r.name.endsWith("-node-apply"));
  assert.equal(nodes.length, 2);
  for (const node of nodes) assert.ok(reaches("flannel", node, granted.urn), node.name);
});

test("what a shipment only shows waits for no upload and no API", () => {
  const commands = ["command:local:Command", command].flatMap((type) => ofType("dev", type));
  const waited = commands.filter((r) => !/-(root|claim)-/.test(r.name));
  const views = ["plainkube:host:Shipment", "plainkube:host:Unit", "random:index/randomId:RandomId"];
  const waits = ["hosts-ready", "proof-nodes"];
  const shown = views.flatMap((type) => ofType("dev", type)).filter(({ name }) => !waits.includes(name));
  assert.ok(waited.length > 10 && shown.length > 20);
  for (const resource of shown) {
    for (const { urn, name } of waited) assert.ok(!reaches("dev", resource, urn), `${resource.name} waits for ${name}`);
  }
});

test("connections hold exactly what it takes to log in", () => {
  const dialling = { dialErrorLimit: 10, perDialTimeout: 15 };
  for (const { inputs, name } of ofType("dev", command)) {
    const { host, ...rest } = plain(inputs.connection) as Record<string, unknown>;
    assert.match(String(host), /^10\.90\.23\.4[12]$/, name);
    const expected = { port: 22, user: "root", hostKey, privateKey: key.privateKey, ...dialling };
    assert.deepEqual(unmarked(rest), expected, name);
  }
  const credentials = { privateKey: encrypted.privateKey, privateKeyPassword: passphrase, hostKey, ...dialling };
  const ends: Record<string, object> = {
    "172.31.5.10": { port: 22, user: "root" },
    "172.31.5.11": { port: 22, user: "admin" },
    "172.31.5.12": { port: 2222, user: "root" },
  };
  for (const { inputs, name } of ofType("custom", command)) {
    const { host, ...rest } = plain(inputs.connection) as Record<string, unknown>;
    const proxy = { host: "jump.example.com", port: 2200, user: "hop", ...credentials };
    assert.deepEqual(unmarked(rest), { ...ends[String(host)], ...credentials, proxy }, name);
  }
});

function unmarked(value: unknown): unknown {
  const inner = plain(value);
  if (typeof inner !== "object" || inner === null) return inner;
  return Object.fromEntries(Object.entries(inner).map(([k, v]) => [k, unmarked(v)]));
}

/**
 * SSH connections of a first `up`, each command dialling once: root, claim, binaries of each
 * stage, control plane, runtime, node, proof, users.
 * sshd's default of MaxStartups (10:30:100) counts connections that have not logged in yet.
 */
const connections: Record<string, Record<string, number>> = {
  dev: { "10.90.23.41": 10, "10.90.23.42": 7 },
  custom: { "172.31.5.10": 9, "172.31.5.11": 7, "172.31.5.12": 7 },
  "api-only": { "10.90.23.41": 5 },
  flannel: { "10.90.23.41": 10, "10.90.23.42": 7 },
};

test("users get bindings, a kubeconfig of their own and a context in the administrator's", async () => {
  const bound = (cluster: string) =>
    resourcesOf(cluster)
      .filter((r) => r.parent.endsWith("::users") && r.type.startsWith("kubernetes:"))
      .map(({ type, name, inputs }) => {
        const { metadata, roleRef, subjects } = inputs as Record<string, Record<string, unknown>>;
        assert.deepEqual(subjects, [{ apiGroup: roleRef?.apiGroup, kind: "User", name: name.split(":")[0]?.slice(6) }]);
        assert.deepEqual(metadata?.annotations, {
          "pulumi.com/deletionPropagationPolicy": "background",
          "pulumi.com/patchForce": "true",
        });
        return `${type.split(":").at(-1)} ${metadata?.name} in ${metadata?.namespace ?? "all"}: ${roleRef?.name}`;
      })
      .sort();
  const jane = "plainkube:Jane.Doe@example.com";
  assert.deepEqual(bound("custom"), [
    `ClusterRoleBinding ${jane}:view in all: view`,
    `RoleBinding ${jane}:admin in kube-public: admin`,
  ]);
  // No controller fills the roles view and edit here.
  const editor = "plainkube:editor@example.com:system:aggregate-to";
  assert.deepEqual(bound("api-only"), [
    `ClusterRoleBinding ${editor}-edit in all: system:aggregate-to-edit`,
    `ClusterRoleBinding ${editor}-view in all: system:aggregate-to-view`,
    "RoleBinding plainkube:viewer:system:aggregate-to-view in default: system:aggregate-to-view",
  ]);
  const { outputs } = clusters.get("custom") ?? assert.fail();
  const own = (await settled(outputs.userKubeconfigs)) as Record<string, string>;
  const users = (kubeconfig: unknown) => parse(String(kubeconfig)).users.map((u: { name: string }) => u.name);
  assert.deepEqual(
    Object.entries(own).map(([user, file]) => [user, users(file)]),
    [
      ["Jane.Doe@example.com", ["Jane.Doe@example.com"]],
      ["joe", ["joe"]],
    ],
  );
  const whole = await settled(outputs.kubeconfig);
  assert.deepEqual(users(whole), ["kubernetes-admin", "Jane.Doe@example.com", "joe"]);
  assert.equal(parse(String(whole))["current-context"], "kubernetes-admin@custom");
  const [provider] = ofType("custom", "pulumi:providers:kubernetes");
  assert.deepEqual(users(plain(provider?.inputs.kubeconfig)), ["kubernetes-admin"], "more users change no provider");
});

test("a host is dialled a handful of times", () => {
  each((cluster) => {
    const dialled: Record<string, number> = {};
    for (const r of [...ofType(cluster, command), ...ofType(cluster, upload)]) {
      if (isLeave(r)) continue;
      dialled[addressOf(r)] = (dialled[addressOf(r)] ?? 0) + 1;
    }
    assert.deepEqual(dialled, connections[cluster]);
  });
});

const kubeletSecrets = {
  issued: [
    "0600 /etc/plainkube/kubeconfig/kubelet.yaml",
    "0644 /etc/plainkube/pki/kubelet/ca.crt",
    "0600 /etc/plainkube/pki/kubelet/serving.crt",
    "0600 /etc/plainkube/pki/kubelet/serving.key",
  ],
  bootstrapped: ["0600 /etc/plainkube/kubeconfig/kubelet-bootstrap.yaml", "0644 /etc/plainkube/pki/kubelet/ca.crt"],
};
const proxySecrets = ["0600 /etc/plainkube/kubeconfig/kube-proxy.yaml"];
const flannelSecrets = ["0600 /etc/plainkube/kubeconfig/flannel.yaml"];
const pair = (name: string) => [`0600 /etc/plainkube/pki/${name}.crt`, `0600 /etc/plainkube/pki/${name}.key`];
const controlPlaneSecrets = (cluster: string, spec: ClusterSpec) => [
  "0644 /etc/plainkube/pki/etcd/ca.crt",
  ...["etcd/server", "etcd/peer", "apiserver-etcd-client"].flatMap(pair),
  "0644 /etc/plainkube/pki/ca.crt",
  ...pair("apiserver"),
  ...(cluster === "api-only" ? [] : pair("apiserver-kubelet-client")),
  "0644 /etc/plainkube/pki/front-proxy-ca.crt",
  ...pair("front-proxy-client"),
  "0600 /etc/plainkube/pki/sa.pub",
  "0600 /etc/plainkube/pki/sa.key",
  // With the first phase, as etcd's unit hides only what is there when it starts.
  ...(cluster === "api-only" ? [] : controllerSecrets(spec)),
  "0600 /etc/plainkube/encryption.yaml",
];
const controllerSecrets = ({ kubelet }: ClusterSpec) => [
  "0600 /etc/plainkube/pki/ca.key",
  ...(kubelet.certificates === "bootstrapped" ? pair("kubelet-serving-approver") : []),
  ...["controller-manager", "scheduler"].map((name) => `0600 /etc/plainkube/kubeconfig/${name}.yaml`),
];
const hostKubeconfigs = [
  "0600 /etc/plainkube/kubeconfig/admin.yaml",
  "0600 /etc/plainkube/kubeconfig/admin-kube-aggregator.yaml",
];

test("each phase ships the files that the golden tests show, and the keys that its units need", () => {
  each((cluster) => {
    const spec = specOf({ ...configs[cluster] });
    for (const host of spec.hosts) {
      const shipments = ofType(cluster, command).filter(
        (r) => addressOf(r) === host.address && r.name.endsWith("-apply"),
      );
      const payloads = payloadsOf(spec, host);
      assert.equal(shipments.length, Object.keys(payloads).length);
      for (const { inputs, name } of shipments) {
        assert.ok(isSecret(inputs.stdin), `${name}: the script is a secret`);
        const script = unpacked(String(plain(inputs.stdin)));
        const phase = /^begin (\S+)$/m.exec(script)?.[1] ?? "";
        const payload = payloads[phase] ?? assert.fail(`${host.name} has no phase ${phase}`);
        for (const { path, content, mode = modeOf(path) } of payload.files) {
          const shipped = `\nfile ${mode} ${path} '${content.replaceAll("'", "'\\''")}'\n`;
          assert.ok(script.includes(shipped), `${name}: ${path}`);
        }
        assert.equal([...script.matchAll(/^file 0[0-7]{3} \//gm)].length, payload.files.length);
        const secrets = [...script.matchAll(/^secret (0\S+ \S+) /gm)].map(([, what]) => what);
        const network = [...proxySecrets, ...(cluster === "flannel" ? flannelSecrets : [])];
        const expected: Record<string, readonly string[]> = {
          "control-plane": [
            ...controlPlaneSecrets(cluster, spec),
            ...(spec.apiServer.hostKubeconfigs ? hostKubeconfigs : []),
          ],
          controllers: [],
          runtime: [],
          node: [...(host.isWorker ? kubeletSecrets[spec.kubelet.certificates] : []), ...network],
        };
        assert.deepEqual(secrets, expected[phase], name);
      }
    }
  });
});

test("the controllers start anew with keys and certificates that come in the API server's phase", () => {
  each((cluster) => {
    for (const { name, inputs } of ofType(cluster, "random:index/randomId:RandomId")) {
      if (!name.endsWith("-attempt")) continue;
      const { rests } = inputs.keepers as Record<string, unknown>;
      if (!name.endsWith("-controllers-attempt")) assert.equal(rests, undefined, name);
      else assert.match(String(rests), /^[0-9a-f]{64}$/, name);
    }
  });
});

test("keys and certificates are those of a stack whose certificates were components", () => {
  each((cluster) => {
    const made = resourcesOf(cluster).filter(({ type }) => type.startsWith("tls:"));
    for (const { name, parent, formerParents } of made) {
      if (name === "pki-service-account-key") continue;
      const certificate = name.replace(/-(key|cert|request)$/, "");
      const type = certificate.endsWith("-ca") ? "CertificateAuthority" : "Certificate";
      const former = parent.replace(
        /^(urn:pulumi:\S+?)::(\S+?)::plainkube:pki:Pki::pki$/,
        `$1::$2::plainkube:pki:Pki$$plainkube:pki:${type}::${certificate}`,
      );
      assert.deepEqual(formerParents, [former], name);
      assert.notEqual(former, parent);
    }
    assert.ok(made.length > 20 || cluster === "api-only", String(made.length));
  });
});

/** A secret file of the control plane's shipment. */
function secretFile(cluster: string, path: string): string {
  const shipment = ofType(cluster, command).find((r) => r.name.endsWith("-control-plane-shipment-apply"));
  const script = unpacked(String(plain(shipment?.inputs.stdin)));
  const [, rest = assert.fail(path)] = script.split(`\nsecret 0600 ${path} '`);
  return rest.slice(0, rest.indexOf("'"));
}

test("the newest key encrypts, and what was stored in any other way stays readable", () => {
  const keyOf = (i: number) => ({
    name: `key${i}`,
    secret: createHash("sha256")
      .update(keyMarker(`pki-encryption-key-${i}`))
      .digest("base64"),
  });
  const file = parse(secretFile("custom", "/etc/plainkube/encryption.yaml"));
  assert.deepEqual(file.resources, [
    { resources: ["secrets"], providers: [{ secretbox: { keys: [keyOf(2), keyOf(1)] } }, { identity: {} }] },
  ]);
  assert.deepEqual(
    ofType("custom", "random:index/randomPassword:RandomPassword").map((r) => [r.name, r.inputs]),
    [1, 2].map((i) => [`pki-encryption-key-${i}`, { length: 64, special: false }]),
  );
});

test("the administrator's kubeconfigs on the host reach the API from anywhere, and this host's server", () => {
  const servers = ["admin", "admin-kube-aggregator"].map(
    (name) => parse(secretFile("custom", `/etc/plainkube/kubeconfig/${name}.yaml`)).clusters[0].cluster.server,
  );
  assert.deepEqual(servers, ["https://172.31.5.10:6443", "https://127.0.0.1:6443"]);
});

test("a configuration with problems registers nothing, in a preview neither", async () => {
  for (const preview of [true, false]) {
    const config = { ...devConfig(), hosts: [], bananas: true };
    const resources: Registered[] = [];
    await assert.rejects(
      runProgram(config, { preview, resources }),
      /2 problems in the configuration; nothing was changed\./,
    );
    assert.deepEqual(resources, []);
  }
});

test("hosts wait for each other by name while they are few; where they are many, the state grows as they do, not as their square", async () => {
  /** Numbers of hosts that a command on another names: the control plane's is counted with its own. */
  const named = async (count: number): Promise<number[]> => {
    const resources = await programOf(count);
    const ofHosts = resources.filter((r) => [command, upload].includes(r.type) && !isLeave(r));
    assert.ok(ofHosts.length > count * 6);
    return ofHosts.map((r) => {
      const on = ofHosts.filter(({ urn }) => r.dependencies.includes(urn)).map(addressOf);
      return new Set(on.filter((address) => ![addressOf(r), "10.90.23.41"].includes(address))).size;
    });
  };
  assert.equal(Math.max(...(await named(9))), 0);
  const ofThree = await named(3);
  // Claims, and the proof on each host; the control plane's own count two others.
  assert.equal(ofThree.filter((others) => others > 0).length, 6);
  assert.equal(Math.max(...ofThree), 2);
});
