/**
 * What the program registers for the system `minimal`. Engine, plugins and hosts are stand-ins (program.ts); that a cluster
 * comes of it is shown by tests/e2e/minimal.test.ts.
 */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import * as pulumi from "@pulumi/pulumi";
import { parse } from "yaml";
import { unpacked } from "../../components/host/pack.ts";
import { exampleConfig, key, specOf } from "../unit/clusters.ts";
import { assertGolden } from "../unit/golden.ts";
import { payloadsOf } from "../unit/payloads.ts";
import { isSecret, keyMarker, type Outcome, plain, runProgram } from "./program.ts";

const config = { ...exampleConfig("minimal"), binaries: { source: "modules" } };
let program: Outcome;
before(async () => {
  program = await runProgram(config);
});

const shortName = (urn: string) => urn.split("::").at(-1) ?? "";
const ofType = (type: string) => program.resources.filter((r) => r.type === type);

test("names, types and parents stay as they are: others would replace what runs", async () => {
  const lines = program.resources.map((r) => `${r.type} ${r.name}${r.parent ? ` < ${shortName(r.parent)}` : ""}`);
  await assertGolden("resources-minimal", { "minimal.txt": `${lines.sort().join("\n")}\n` });
});

test("one RSA key of 4096 bits is issuer, server and authority, and signs one client certificate", () => {
  const [authority, ...others] = ofType("tls:index/selfSignedCert:SelfSignedCert");
  assert.ok(authority && others.length === 0);
  assert.deepEqual(authority.inputs.dnsNames, ["kubernetes.default.svc"]);
  assert.deepEqual(authority.inputs.ipAddresses, ["10.90.23.41", "10.0.0.1"]);
  assert.equal(authority.inputs.isCaCertificate, true);
  const keys = ofType("tls:index/privateKey:PrivateKey").map(({ inputs }) => [inputs.algorithm, inputs.rsaBits]);
  assert.deepEqual(keys, [
    ["RSA", 4096],
    ["ECDSA", undefined],
  ]);
  const signed = ofType("tls:index/locallySignedCert:LocallySignedCert");
  assert.deepEqual(
    signed.map(({ inputs }) => inputs.allowedUses),
    [["digital_signature", "client_auth"]],
  );
});

test("each phase ships the files that the golden tests show, and keys as secrets to who needs them", () => {
  const spec = specOf(config);
  const keysOf: Record<string, string[]> = {
    "node1-control-plane-shipment": ["apiserver.crt", "apiserver.key", "kubeconfig"],
    "node2-node": ["kubeconfig"],
  };
  for (const host of spec.hosts) {
    for (const [phase, payload] of Object.entries(payloadsOf(spec, host))) {
      const names: Record<string, string> = {
        "control-plane": "control-plane-shipment",
        controllers: "control-plane-controllers",
      };
      const name = `${host.name}-${names[phase] ?? phase}`;
      const apply = program.resources.find((r) => r.name === `${name}-apply`);
      assert.ok(apply && isSecret(apply.inputs.stdin), name);
      const script = unpacked(String(plain(apply.inputs.stdin)));
      const files = [...script.matchAll(/^file 0\S+ (\S+) /gm)].map((m) => m[1]);
      assert.deepEqual(
        files,
        payload.files.map((f) => f.path),
        name,
      );
      const secrets = [...script.matchAll(/^secret (\S+) \/opt\/k8s\/(\S+) '/gm)];
      assert.deepEqual(
        secrets.map((m) => m[2]),
        keysOf[name] ?? [],
        name,
      );
      for (const [, mode, path] of secrets) assert.equal(mode, path === "apiserver.crt" ? "0644" : "0600");
    }
  }
});

test("the kubeconfig is the administrator's, secret, and holds no key of the server", async () => {
  const output = program.outputs.kubeconfig;
  assert.ok(pulumi.Output.isInstance(output) && (await pulumi.isSecret(output)));
  const text = String(await new Promise((resolve) => output.apply(resolve)));
  const { clusters, users } = parse(text);
  const decode = (base64: string) => Buffer.from(base64, "base64").toString();
  assert.equal(clusters[0].cluster.server, "https://10.90.23.41:6443");
  assert.match(decode(users[0].user["client-key-data"]), new RegExp(keyMarker("pki-admin-key")));
  assert.ok(!decode(clusters[0].cluster["certificate-authority-data"]).includes(keyMarker("")));
});

test("no key is in an input that is not marked as secret", () => {
  const markers = [keyMarker(""), key.privateKey.split("\n")[2] ?? ""];
  const visible = (value: unknown): string =>
    isSecret(value)
      ? ""
      : typeof value === "object" && value !== null
        ? Object.values(value).map(visible).join()
        : String(value);
  for (const { name, inputs } of program.resources) {
    for (const marker of markers) assert.ok(!visible(inputs).includes(marker), name);
  }
});

test("there is neither DNS nor a rule that allows something: everybody with the certificate may do everything", () => {
  const inside = program.resources.filter((r) => r.type.startsWith("kubernetes:")).map((r) => r.type);
  assert.deepEqual(inside.sort(), [
    "kubernetes:apps/v1:Deployment",
    "kubernetes:core/v1:Namespace",
    "kubernetes:core/v1:Service",
  ]);
});
