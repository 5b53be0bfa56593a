/** docs/security.md says what the end-to-end tests look at, and no row of the CIS table holds for a host that does everything wrong. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { cisRows, type HostFacts } from "../e2e/cis.ts";
import { exposures, openPorts } from "../e2e/security.ts";
import { projectDirectory } from "./clusters.ts";

const page = await readFile(join(projectDirectory, "docs/security.md"), "utf8");
const rowsOf = (heading: string): string[][] => {
  const section = page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const lines = section.split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) =>
    line
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim()),
  );
};

test("the CIS table of the docs is the one that is tested", () => {
  const rows = cisRows.map(({ id, what, state, reason }) => [id, what, state, reason]);
  assert.deepEqual(rowsOf("The CIS Kubernetes Benchmark"), rows);
  const ids = cisRows.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  // As many as the benchmark has in these sections.
  const count = (section: string) => ids.filter((id) => id.startsWith(section)).length;
  const counts = ["1.1.", "1.2.", "1.3.", "1.4.", "2.", "3.1.", "3.2.", "4.1.", "4.2.", "4.3."].map(count);
  assert.deepEqual(counts, [21, 30, 7, 2, 7, 3, 2, 10, 14, 1]);
  for (const { id, state, reason } of cisRows) if (state !== "pass") assert.notEqual(reason, "", id);
  assert.deepEqual(
    cisRows.filter(({ holds }) => !holds).map(({ id }) => id),
    ["3.1.1", "3.1.2"],
    "rows that nothing on a host shows",
  );
});

test("the tables of ports and units are the ones that are tested", () => {
  assert.deepEqual(
    rowsOf("Ports").map((row) => row.slice(0, 3)),
    openPorts.map(({ port, program, on }) => [String(port), program, on]),
  );
  assert.deepEqual(
    rowsOf("Units").map(([unit = "", bound]) => [unit, Number(bound)]),
    Object.entries(exposures),
  );
});

test("no row holds for a host that does everything wrong, nor for one that shows nothing", () => {
  const open = "f 777 nobody:nogroup";
  const paths = [
    ...["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet"].map(
      (name) => `/etc/systemd/system/${name}.service`,
    ),
    ...["admin", "scheduler", "controller-manager", "kube-proxy", "kubelet"].map(
      (name) => `/etc/plainkube/kubeconfig/${name}.yaml`,
    ),
    ...["/etc/plainkube/pki", "/etc/plainkube/pki/ca.key", "/etc/plainkube/pki/apiserver.crt"],
    ...["/etc/plainkube/pki/kubelet/ca.crt", "/etc/plainkube/kubelet.yaml", "/etc/plainkube/cni/net.d"],
    ...["/etc/plainkube/cni/net.d/10.conflist", "/var/lib/plainkube/etcd"],
  ];
  const wrong: HostFacts = {
    flags: {
      "kube-apiserver": {
        "authorization-mode": "AlwaysAllow",
        "disable-admission-plugins": "ServiceAccount,NamespaceLifecycle",
        "enable-admission-plugins": "AlwaysAdmit,DenyServiceExternalIPs,EventRateLimit,AlwaysPullImages",
        "enable-bootstrap-token-auth": "true",
        profiling: "true",
        "request-timeout": "0",
        "tls-cipher-suites": "TLS_RSA_WITH_AES_128_CBC_SHA",
        "token-auth-file": "/etc/tokens",
      },
      "kube-controller-manager": { "bind-address": "0.0.0.0", "feature-gates": "RotateKubeletServerCertificate=false" },
      "kube-scheduler": { "bind-address": "0.0.0.0" },
      kubelet: {},
    },
    files: Object.fromEntries(paths.map((path) => [path, open])),
    config: {
      etcd: { "client-transport-security": { "auto-tls": true }, "peer-transport-security": { "auto-tls": true } },
      scheduler: { enableProfiling: true },
      "kube-proxy": { kind: "KubeProxyConfiguration", metricsBindAddress: "0.0.0.0" },
      "audit-policy": { rules: [{ level: "RequestResponse" }] },
    },
    kubelet: {
      kind: "KubeletConfiguration",
      authentication: { anonymous: { enabled: true } },
      featureGates: { RotateKubeletServerCertificate: false },
      readOnlyPort: 10255,
      rotateCertificates: true,
      streamingConnectionIdleTimeout: "0s",
    },
  };
  const holding = (facts: HostFacts) => cisRows.filter(({ holds }) => holds?.(facts)).map(({ id }) => id);
  assert.deepEqual(holding(wrong), []);
  // There is no administrator's kubeconfig either.
  assert.deepEqual(holding({ flags: {}, files: {}, config: {}, kubelet: {} }), ["1.1.13", "1.1.14"]);
});
