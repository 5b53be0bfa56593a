/** When a kubelet that asks for its certificates forgets them: the script run for real, on files of a sandbox. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { projectDirectory } from "./clusters.ts";
import { Sandbox } from "./sandbox.ts";

const script = readFileSync(join(projectDirectory, "components/kubelet/forget-certificates.sh"), "utf8");
const bootstrap = "/etc/plainkube/kubeconfig/kubelet-bootstrap.yaml";
const issued = ["/var/lib/kubelet/kubeconfig.yaml", "/var/lib/kubelet/pki/kubelet-client-current.pem"];

test("certificates are kept over restarts, and forgotten with new bootstrap credentials", () => {
  const sandbox = new Sandbox();
  mkdirSync(sandbox.at("/etc/plainkube/kubeconfig"), { recursive: true });
  writeFileSync(sandbox.at(bootstrap), "first\n");
  const start = () => assert.deepEqual(sandbox.run(script), { status: 0, stdout: "", stderr: "", calls: [] });
  const ask = () => {
    for (const path of issued) writeFileSync(sandbox.at(path), "issued");
  };
  const kept = () => issued.filter((path) => sandbox.read(path) === "issued");
  start();
  assert.equal(statSync(sandbox.at("/var/lib/kubelet/pki")).mode & 0o777, 0o700);
  ask();
  start();
  assert.deepEqual(kept(), issued);
  writeFileSync(sandbox.at(bootstrap), "second\n");
  start();
  assert.deepEqual(kept(), []);
  ask();
  start();
  assert.deepEqual(kept(), issued);
});
