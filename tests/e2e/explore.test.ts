import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { parse } from "yaml";
import { shellWord } from "../../components/host/shipment.ts";
import { insideLan } from "../../lab/instance.ts";
import { must, run } from "../../lab/shell.ts";
import { projectDirectory, stackConfig } from "../../lab/stack.ts";
import { findBrowser } from "../browser.ts";
import { TestCluster } from "./harness.ts";

/**
 * `npm run api:explore` in a real browser, on a cluster of its own. Page and browser run inside the lab's network, where
 * 127.0.0.1 is nobody else's. With $PLAINKUBE_SCREENSHOTS set to a folder, the pages' pictures are written there.
 */

const origin = "http://127.0.0.1:8765";
const door = Buffer.from("open sesame").toString("base64");
const explore = ["node", "explore/main.ts", "--stack", "dev"];

let cluster: TestCluster;
let server: ChildProcess;
let browser: Browser;
let page: Page;
const complaints: string[] = [];
const elsewhere: string[] = [];

const inLan = (...command: string[]) =>
  run([...insideLan(cluster.instance), ...command], {
    cwd: projectDirectory,
    env: { ...process.env, ...cluster.stack.environment },
  });

/** The status of a request to the page's server, without a browser. */
async function statusOf(...args: string[]): Promise<string> {
  return (await inLan("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", ...args)).stdout;
}

async function startServer(): Promise<ChildProcess> {
  const [program = "", ...args] = [...insideLan(cluster.instance), ...explore];
  const started = spawn(program, args, {
    cwd: projectDirectory,
    env: { ...process.env, ...cluster.stack.environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: started.stdout })) {
    if (line.startsWith(origin)) return started;
  }
  throw new Error("the page's server ended before it served; its message stands above");
}

/** A browser in the lab's network. It runs as root here, which its sandbox refuses. */
async function startBrowser(): Promise<Browser> {
  const program = findBrowser();
  assert.ok(program, "no browser on this machine; tests/run.ts installs one");
  const wrapper = join(cluster.instance.directory, "browser");
  const command = [...insideLan(cluster.instance), program].map(shellWord).join(" ");
  await writeFile(wrapper, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o700 });
  return chromium.launch({ executablePath: wrapper, args: ["--no-sandbox"] });
}

async function picture(name: string, height: number): Promise<void> {
  const folder = process.env.PLAINKUBE_SCREENSHOTS;
  if (!folder) return;
  await page.setViewportSize({ width: 1180, height });
  await page.locator("header").scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(projectDirectory, folder, name) });
}

/** What kubectl gives for an object, whole. */
async function object(...what: string[]) {
  return JSON.parse(await cluster.kubectl("get", "--show-managed-fields", "-o", "json", ...what));
}

/** A fact that the etcd page shows beside the value. */
const fact = (name: string) => page.locator(`dt:text-is("${name}") + dd`).innerText();

before(async () => {
  const { "plainkube:versions": _, ...config } = await stackConfig("api-only");
  cluster = await TestCluster.make({
    label: "exp",
    config: {
      ...config,
      "plainkube:hosts": [{ name: "node1", address: "10.90.23.41", roles: ["control-plane"], user: "ops" }],
      // So that there is a Secret's value to hide.
      "plainkube:apiServer": { encryption: { secrets: false, generation: 0 } },
    },
    units: { node1: ["etcd", "kube-apiserver"] },
  });
  await cluster.up();
  await cluster.kubectl("create", "configmap", "colours", "--from-literal=sky=blue", "--from-literal=grass=green");
  await cluster.kubectl("create", "secret", "generic", "door", "--from-literal=code=open sesame");
  server = await startServer();
  browser = await startBrowser();
  page = await browser.newPage({ viewport: { width: 1180, height: 760 } });
  page.setDefaultTimeout(30_000);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (!/^data:/.test(request.url()) && !request.url().startsWith(`${origin}/`)) elsewhere.push(request.url());
  });
});

after(async () => {
  await browser?.close();
  server?.kill();
  await cluster.remove();
});

describe("the API page", () => {
  test("lists the operations of the running server, and executes a GET", async () => {
    await page.goto(origin);
    await page.getByText(/stack dev · Kubernetes v1\.\d+\.\d+ at https:\/\/10\.90\.23\.41:6443 · etcd 3\./).waitFor();
    await page.locator(".opblock").first().waitFor();
    await page.getByLabel("Paths that contain").fill("configmaps/{name}");
    const operation = page.locator("#operations-core_v1-readCoreV1NamespacedConfigMap");
    await operation.locator(".opblock-summary-control").click();
    await operation.getByRole("button", { name: "Try it out" }).click();
    await operation.getByPlaceholder("name", { exact: true }).fill("colours");
    await operation.getByPlaceholder("namespace", { exact: true }).fill("default");
    await operation.getByRole("button", { name: "Execute" }).click();
    const answer = operation.locator(".live-responses-table");
    await answer.locator(".highlight-code code").first().waitFor();
    assert.match(await answer.locator(".response-col_status").last().innerText(), /^200/);
    const { data, metadata } = JSON.parse(await answer.locator(".highlight-code code").first().innerText());
    assert.deepEqual(data, { sky: "blue", grass: "green" });
    assert.equal(metadata.uid, (await object("configmap", "colours")).metadata.uid);
    await picture("api-explore.png", 1400);
  });

  test("offers no other method to try", async () => {
    const operation = page.locator("#operations-core_v1-deleteCoreV1NamespacedConfigMap");
    await operation.locator(".opblock-summary-control").click();
    await operation.getByText("Parameters", { exact: true }).waitFor();
    assert.equal(await operation.getByRole("button", { name: "Try it out" }).count(), 0);
  });

  test("has every group's document, and the one of all", async () => {
    await page.goto(`${origin}/`);
    await page.locator(".opblock").first().waitFor();
    const names = await page.getByLabel("OpenAPI document").locator("option").allInnerTexts();
    const versions = (await cluster.kubectl("api-versions")).trim().split("\n");
    for (const version of versions) assert.ok(names.includes(version === "v1" ? "api/v1" : `apis/${version}`), version);
    await page.getByLabel("OpenAPI document").selectOption("all, as OpenAPI 2");
    await page.waitForURL(/document=/);
    await page.locator(".opblock").first().waitFor();
    await page.getByLabel("Paths that contain").fill("/apis/apps/v1/deployments");
    await page.locator("[data-tag=apps_v1]").waitFor();
  });
});

describe("the etcd page", () => {
  test("shows an object as etcd stores it, decoded", async () => {
    await page.goto(`${origin}/etcd`);
    for (const name of ["configmaps/", "default/", "colours"]) {
      await page.getByLabel("Keys").getByRole("link", { name, exact: true }).click();
    }
    await page.getByRole("heading", { name: "/registry/configmaps/default/colours" }).waitFor();
    // What the API adds is the revision that etcd keeps beside the value.
    const { metadata, ...rest } = await object("configmap", "colours");
    const { resourceVersion, ...stored } = metadata;
    assert.deepEqual(parse(await page.locator("#yaml").innerText()), { ...rest, metadata: stored });
    const facts = Object.fromEntries(
      await Promise.all(["kind", "stored as", "mod revision", "version", "lease"].map(async (f) => [f, await fact(f)])),
    );
    assert.deepEqual(facts, {
      kind: "ConfigMap",
      "stored as": "protobuf",
      "mod revision": resourceVersion,
      version: "1",
      lease: "none",
    });
    await page.getByRole("button", { name: "Stored bytes" }).click();
    await page.getByText(/00000000 {2}6b 38 73 00 .*\|k8s\./).waitFor();
    await picture("etcd-explore.png", 760);
  });

  test("filters names, and shows what is stored in JSON", async () => {
    await page.goto(`${origin}/etcd#/registry/`);
    const entries = page.locator("#entries a");
    // The list of the page before is gone.
    await entries.nth(1).waitFor();
    await page.getByLabel("Names that begin with").fill("apireg");
    await entries.nth(1).waitFor({ state: "detached" });
    assert.deepEqual(await entries.allInnerTexts(), ["apiregistration.k8s.io/"]);
    await page.goto(`${origin}/etcd#/registry/apiregistration.k8s.io/apiservices/v1.apps`);
    await page.getByRole("heading", { name: "/apiservices/v1.apps" }).waitFor();
    assert.deepEqual([await fact("kind"), await fact("stored as")], ["APIService", "json"]);
  });

  test("hides the values of a Secret, on both pages", async () => {
    await page.goto(`${origin}/etcd#/registry/secrets/default/door`);
    await page.getByText(/Values of Secrets are hidden/).waitFor();
    const shown = parse(await page.locator("#yaml").innerText());
    assert.deepEqual([shown.kind, shown.data], ["Secret", { code: "(hidden: 11 bytes)" }]);
    assert.equal(await page.getByRole("button", { name: "Stored bytes" }).count(), 0);
    for (const path of [
      "api/v1/secrets",
      "api/v1/namespaces/default/secrets/door",
      "explore/raw?key=/registry/secrets/default/door",
    ]) {
      const { stdout } = await inLan("curl", "-s", `${origin}/${path}`);
      assert.ok(stdout.includes("hid") || stdout.includes("Secret"), path);
      assert.ok(!stdout.includes(door), `${path} gives a Secret's value`);
    }
  });
});

test("both pages load nothing from elsewhere, and break no rule of their own", () => {
  assert.deepEqual([complaints, elsewhere], [[], []]);
});

describe("the page's server", () => {
  test("refuses to write, by the browser and without", async () => {
    const path = "/api/v1/namespaces/default/configmaps/colours";
    const refused = await page.evaluate(async (to) => (await fetch(to, { method: "DELETE" })).status, path);
    assert.equal(refused, 405);
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      assert.equal(await statusOf("-X", method, `${origin}${path}`), "405", method);
    }
    assert.equal(await statusOf(`${origin}/api/v1/nodes/node1/proxy/pods`), "403");
    assert.equal((await object("configmap", "colours")).data.sky, "blue");
  });

  test("answers to its own name on loopback only", async () => {
    assert.equal(await statusOf(`${origin}/version`), "200");
    assert.equal(await statusOf("-H", "Host: rebound.example.com:8765", `${origin}/version`), "421");
    const listening = await inLan("ss", "-Hltn", "sport", "=", ":8765");
    assert.match(listening.stdout, /^LISTEN +\d+ +\d+ +127\.0\.0\.1:8765 [^\n]*\n$/);
  });

  test("says so when its port is taken, or the stack is not there", async () => {
    const nowhere = await inLan("node", "explore/main.ts", "--stack", "nowhere");
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /^plainkube: the stack nowhere cannot be read; .*no stack named 'nowhere' found/s);
    const second = await inLan(...explore);
    assert.equal(second.code, 1);
    assert.match(second.stderr, /port 8765 of 127\.0\.0\.1 is in use; .*--port 8766/);
  });

  test("leaves nothing on the host, even while it reads", async () => {
    const files = await cluster.onHost(
      "node1",
      "find /opt /tmp /var/tmp /root /run -xdev -name '*etcdctl*' -o -xdev -name 'explore.*'",
    );
    assert.equal(files, "");
    const readers = "pgrep -fc 'ETCDCTL_[E]NDPOINTS' || :";
    assert.notEqual(await cluster.onHost("node1", readers), "0\n");
    server.kill("SIGTERM");
    const [code] = await once(server, "close");
    assert.equal(code, 0);
    assert.equal(await cluster.onHost("node1", `sleep 0.5; ${readers}`), "0\n");
    server = await startServer();
  });

  test("says on both pages what does not answer, and goes on when it does again", async () => {
    await cluster.onHost("node1", "systemctl stop kube-apiserver etcd");
    await page.goto(origin);
    await page
      .getByRole("alert")
      .getByText(/^the API server at .* does not answer: connect ECONNREFUSED/)
      .waitFor();
    await page.goto(`${origin}/etcd`);
    await page
      .getByRole("alert")
      .getByText(/^etcd on node1 \(ops@10\.90\.23\.41:22\) does not answer: /)
      .waitFor();
    await page.getByText(/API server does not answer · etcd does not answer/).waitFor();
    await cluster.onHost("node1", "systemctl start etcd kube-apiserver");
    await page.reload();
    await page.getByRole("link", { name: "configmaps/", exact: true }).waitFor();
    await must([
      ...insideLan(cluster.instance),
      "curl",
      "-sf",
      "--retry",
      "30",
      "--retry-delay",
      "1",
      "--retry-all-errors",
      `${origin}/version`,
    ]);
    assert.deepEqual(elsewhere, []);
  });
});
