import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { rootShell } from "../../components/host/shipment.ts";
import { placedHosts } from "../../drift/stored.ts";
import { runOnHost } from "../../lab/instance.ts";
import { stackConfig } from "../../lab/stack.ts";
import { TestCluster } from "../e2e/harness.ts";
import { asLeft, drift, Patient, Stream } from "../e2e/outages.ts";
import { trial } from "../figures.ts";

/** Faults of a running cluster that take minutes; each test takes the cluster as the one before left it. */

let cluster: TestCluster;
let patient: Patient;

before(async () => {
  cluster = await TestCluster.make({ label: "oul", config: await stackConfig("dev") });
  await cluster.up();
  patient = await Patient.of(cluster);
});

after(() => cluster.remove());

interface Exported {
  deployment: { resources: { urn: string; type: string; outputs?: Record<string, unknown> }[] };
}

/** Makes the state say that certificates of a type end in an hour: the time to renew them, without waiting for it. */
async function endsSoon(type: string): Promise<number> {
  const exported = JSON.parse(await cluster.pulumi("stack", "export")) as Exported;
  const certificates = exported.deployment.resources.filter((resource) => resource.type === type);
  for (const { outputs } of certificates)
    Object.assign(outputs ?? {}, { validityEndTime: new Date(Date.now() + 3_600_000).toISOString() });
  const file = join(cluster.instance.directory, "ends-soon.json");
  await writeFile(file, JSON.stringify(exported), { mode: 0o600 });
  await cluster.pulumi("stack", "import", "--file", file);
  return certificates.length;
}

/** Path → digest of every certificate of the cluster on a host. */
async function digests(host: string): Promise<Map<string, string>> {
  const lines = await cluster.onHost(host, "find /etc/plainkube/pki -name '*.crt' -exec sha256sum {} +");
  return new Map(
    lines
      .trimEnd()
      .split("\n")
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
}

const renewals = {
  "certificates whose time has come": {
    type: "tls:index/locallySignedCert:LocallySignedCert",
    isRenewed: (path: string) => !/ca\.crt$/.test(path),
  },
  "authorities whose time has come, and with them all certificates": {
    type: "tls:index/selfSignedCert:SelfSignedCert",
    isRenewed: () => true,
  },
} as const;

for (const [what, { type, isRenewed }] of Object.entries(renewals)) {
  test(`${what} are renewed by up: no request fails, tokens and kubeconfigs go on`, (t: TestContext) =>
    trial("faults", async () => {
      await cluster.pulumi("refresh", "--yes", "--skip-preview");
      const before = new Map(
        await Promise.all(cluster.hosts.map(async (host) => [host, await digests(host)] as const)),
      );
      const token = (await patient.kubectl("create", "token", "default", "-n", "default")).trim();
      const count = await endsSoon(type);
      assert.ok(count >= 3);
      await cluster.pulumi("preview", "--diff");
      const stream = await Stream.start(cluster);
      const output = await cluster.up();
      const { failed, text } = await stream.seen();
      await stream.stop();
      t.diagnostic(`${count} entries renewed; ${text}`);
      assert.match(output, /LocallySignedCert/);
      for (const host of cluster.hosts) {
        const now = await digests(host);
        assert.ok(now.size > 1, `${host} has certificates`);
        for (const [path, digest] of now)
          assert.equal(digest !== before.get(host)?.get(path), isRenewed(path), `${path} on ${host} is renewed`);
      }
      assert.equal(failed, 0, text);
      // The patient's kubeconfig is the one from before.
      assert.match(await patient.kubectl("auth", "whoami"), /kubernetes-admin/);
      assert.match(await cluster.kubectl("auth", "whoami"), /kubernetes-admin/);
      const asked = `curl -s --cacert /etc/plainkube/pki/kubelet/ca.crt -H 'Authorization: Bearer ${token}' -o /dev/null -w '%{http_code}' https://10.90.23.41:6443/api`;
      assert.equal(await cluster.onHost("node2", asked), "200");
      await patient.startsSomething("after-renewal", "node2");
      await cluster.up("--expect-no-changes");
    }));
}

test("a worker that was reset by hand is named, and made again by --repair", () =>
  trial("faults", async () => {
    const exported = await cluster.pulumi("stack", "export", "--show-secrets");
    const host = placedHosts(exported).find(({ name }) => name === "node2");
    assert.ok(host);
    const reset = await runOnHost(cluster.instance, "node2", rootShell("reset"), { input: host.preflight });
    assert.equal(reset.code, 0, reset.stderr);
    const found = await drift(cluster);
    assert.equal(found.code, 1);
    assert.ok(
      found.lines.includes("node2: nothing of this cluster is there: it was reset or replaced"),
      String(found.lines),
    );
    // What `up` says alone, where it has something to do there.
    const labelled = structuredClone(cluster.config["plainkube:hosts"]) as Record<string, unknown>[];
    Object.assign(labelled[1] ?? {}, { labels: { "example.com/rack": "b" } });
    await cluster.stack.configure({ ...cluster.config, "plainkube:hosts": labelled });
    assert.match(await cluster.failingUp(), /node2 is not prepared[\s\S]*npm run drift -- --stack STACK --repair/);
    await cluster.stack.configure(cluster.config);
    const { code, lines } = await drift(cluster, "--repair");
    assert.equal(code, 0, lines.join("\n"));
    assert.deepEqual(lines.slice(-2), asLeft(cluster));
    await patient.answers(60);
    await patient.startsSomething("after-reset", "node2");
    await cluster.up("--expect-no-changes");
  }));
