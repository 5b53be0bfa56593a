/**
 * What a stack's state says about hosts, read again and compared with files for real; systemd is a stand-in (see
 * sandbox.ts). On hosts it is tried by tests/e2e/outages.ts.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { phaseScript } from "../../components/host/shipment.ts";
import { minimalLayout } from "../../components/paths.ts";
import { placedHosts } from "../../drift/stored.ts";
import { Sandbox } from "./sandbox.ts";

const unit = "a.service";
const payload = {
  files: [
    { path: `/etc/systemd/system/${unit}`, content: "[Service]\n" },
    { path: "/etc/plainkube/a.yaml", content: "a: $HOME `1`\n" },
    { path: "/etc/plainkube/lone.sh", content: "true\n", mode: "0755" },
  ],
  units: [{ name: unit, inputs: ["/etc/plainkube/a.yaml", "/etc/plainkube/a.key"] }],
};
const shipped = phaseScript("node", payload, [{ path: "/etc/plainkube/a.key", content: "not a key" }]);
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const store = `${minimalLayout.store}/${sha256("the program")}`;

const order = { endpoint: { host: "10.0.0.1", port: 22, user: "root", hostKey: "-" }, layout: minimalLayout };
const urn = (types: string, name: string) => `urn:pulumi:dev::plainkube::${types}::${name}`;
const root = urn("plainkube:host:Host$command:remote:Command", "a-1-root-10.0.0.1");
const claim = urn("plainkube:host:Host$command:remote:Command", "a-1-claim-10.0.0.1");
const shipment = urn("plainkube:node:Node$plainkube:host:Shipment", "a-1-node");
const upload = urn("plainkube:binaries:Binaries$command:local:Command", "a-1-binaries-runtime");
const attempt = urn("plainkube:host:Shipment$random:index/randomId:RandomId", "a-1-node-attempt");
const secret = (text: string) => ({ plaintext: JSON.stringify(text) });

const resources = [
  { urn: root, type: "command:remote:Command", inputs: { stdin: "preflight" } },
  { urn: claim, type: "command:remote:Command", deletedWith: root, inputs: {} },
  {
    urn: upload,
    type: "command:local:Command",
    deletedWith: root,
    inputs: {
      stdin: secret("a password\n"),
      environment: { PLAINKUBE_UPLOAD: JSON.stringify(order), PLAINKUBE_PINS: "kubelet 1.36.3 amd64 x" },
    },
  },
  { urn: attempt, type: "random:index/randomId:RandomId", parent: shipment },
  {
    urn: urn("plainkube:node:Node$plainkube:host:Shipment$command:remote:Command", "a-1-node-apply"),
    type: "command:remote:Command",
    parent: shipment,
    deletedWith: root,
    inputs: { stdin: secret(shipped) },
  },
];
const exported = (all: readonly object[]) => JSON.stringify({ version: 3, deployment: { resources: all } });

/** What the state says about the one host. */
function stored() {
  const [host] = placedHosts(exported(resources));
  assert.ok(host);
  return host;
}

/** A host on which everything was put. */
function host(): Sandbox {
  const sandbox = new Sandbox();
  mkdirSync(sandbox.at("/var/lib/plainkube/state"), { recursive: true });
  mkdirSync(sandbox.at(minimalLayout.store), { recursive: true });
  writeFileSync(sandbox.at(store), "the program");
  symlinkSync(store, sandbox.at("/opt/k8s/kubelet"));
  assert.equal(sandbox.run(shipped, "node", "attempt-1").status, 0);
  return sandbox;
}

/** The differences, binaries first. */
function differences(sandbox: Sandbox): string[] {
  return stored().placed.flatMap(({ compare }) => {
    const { status, stdout, stderr, calls } = sandbox.run(compare, "drift", "compare");
    assert.deepEqual([status, stderr, calls], [0, "", []]);
    return stdout.split("\n").filter(Boolean);
  });
}

test("a host's name, way in and parts come from the state", () => {
  const { name, password, isControlPlane, preflight, claims, placed } = stored();
  assert.deepEqual(
    [name, password, isControlPlane, preflight, claims],
    ["a-1", "a password", false, "preflight", [claim]],
  );
  assert.deepEqual(
    placed.map((one) => [one.name, one.urn]),
    [
      ["binaries runtime", upload],
      ["node", attempt],
    ],
  );
});

test("a host that nothing was sent to, and what is to be deleted, count for nothing", () => {
  assert.deepEqual(placedHosts(exported(resources.slice(0, 1))), []);
  assert.deepEqual(placedHosts(exported(resources.map((one) => ({ ...one, delete: true })))), []);
  assert.deepEqual(placedHosts('{"version":3,"deployment":{}}'), []);
});

test("a shipment of another version is refused, with what to do", () => {
  const other = resources.map((one) =>
    one.parent && one.inputs ? { ...one, inputs: { stdin: secret("true\n") } } : one,
  );
  assert.throws(() => placedHosts(exported(other)), /a-1-node-apply: the state holds no shipment .* Run 'pulumi up'/);
});

test("a host as it was left has no difference", () => assert.deepEqual(differences(host()), []));

const changes: Record<string, [change: (sandbox: Sandbox) => void, ...told: string[]]> = {
  "another content": [
    (s) => writeFileSync(s.at("/etc/plainkube/a.yaml"), "a: 2\n"),
    "a.service: /etc/plainkube/a.yaml has other content",
  ],
  "a secret": [
    (s) => writeFileSync(s.at("/etc/plainkube/a.key"), "not a kez"),
    "a.service: /etc/plainkube/a.key has other content",
  ],
  "a file of no unit": [(s) => rmSync(s.at("/etc/plainkube/lone.sh")), "file /etc/plainkube/lone.sh: is missing"],
  "a mode": [
    (s) => chmodSync(s.at("/etc/plainkube/a.key"), 0o640),
    "a.service: /etc/plainkube/a.key has mode 640 of uid 0, not 600 of uid 0",
  ],
  "a link": [
    (s) => {
      rmSync(s.at("/etc/plainkube/a.yaml"));
      symlinkSync("/etc/plainkube/a.key", s.at("/etc/plainkube/a.yaml"));
    },
    "a.service: /etc/plainkube/a.yaml is symbolic link, not a file",
  ],
  "a missing unit file": [
    (s) => rmSync(s.at(`/etc/systemd/system/${unit}`)),
    `a.service: /etc/systemd/system/${unit} is missing`,
  ],
  "a stopped unit": [(s) => s.stopUnit(unit), "a.service: is inactive, not active"],
  "a missing binary": [(s) => rmSync(s.at(store)), `binary kubelet: ${store} is missing`],
  "a damaged binary": [
    (s) => writeFileSync(s.at(store), "the prograN"),
    `binary kubelet: ${store} has other content than its name says`,
  ],
  "a binary of somebody else": [
    (s) => {
      rmSync(s.at("/opt/k8s/kubelet"));
      symlinkSync("/bin/true", s.at("/opt/k8s/kubelet"));
    },
    "binary kubelet: /opt/k8s/kubelet is no link into /opt/k8s/store",
  ],
};

for (const [what, [change, ...told]] of Object.entries(changes)) {
  test(`is named: ${what}`, () => {
    const sandbox = host();
    change(sandbox);
    assert.deepEqual(differences(sandbox), told);
  });
}

test("a shipment of an earlier version, whose script was not packed, is not compared with", () => {
  const old = {
    stdin: secret(
      `begin node\nfile 0600 /etc/plainkube/a.yaml <<'PLAINKUBE_END_OF_FILE'\na: 1\nPLAINKUBE_END_OF_FILE\napply\n`,
    ),
  };
  const of = (resource: (typeof resources)[number]) =>
    resource.urn.endsWith("-node-apply") ? { ...resource, inputs: old } : resource;
  assert.throws(
    () => placedHosts(exported(resources.map(of))),
    /a-1-node-apply: the state holds no shipment that this version can read; .*Run 'pulumi up' with this version first/,
  );
});
