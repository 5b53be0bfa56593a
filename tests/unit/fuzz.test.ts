/**
 * Random values for every setting that is text: each is refused, or stays inside the place that it was written to. The
 * values come from a fixed seed, so that a failure comes again; PLAINKUBE_FUZZ_SEED takes another.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { renderKubeconfig } from "../../components/access/kubeconfig.ts";
import { renderCorefile } from "../../components/dns/render.ts";
import { unpacked } from "../../components/host/pack.ts";
import { phaseScript, wholeScript } from "../../components/host/shipment.ts";
import { sshConfig } from "../../components/host/ssh.ts";
import { layoutOf } from "../../components/paths.ts";
import { ConfigError } from "../../components/spec.ts";
import { renderUserProbe } from "../../components/users/render.ts";
import { customConfig, directory, hostKey, type RawConfig, specOf } from "./clusters.ts";
import { payloadsOf } from "./payloads.ts";

const seed = Number(process.env.PLAINKUBE_FUZZ_SEED ?? 1);

/** Mulberry32: small, and the same everywhere. */
function random(start: number): (below: number) => number {
  let state = start >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const pieces = [
  ..."abz09-_.:/@%+=,~*?![]{}()<>|&;#'\"\\`$ \t",
  "\n",
  "\r",
  "\u0000",
  "\u001b",
  "\u0085",
  "\u00a0",
  "\u2028",
  "\ufeff",
  "\ud800",
  "ä",
  "🚀",
  "$(reboot)",
  "%n",
  "@NAME@",
  "PLAINKUBE_END_OF_FILE",
  "\n[Service]\nExecStart=/bin/false\n",
  "---",
  ": ",
  " #",
  "true",
  "null",
  "0x1",
  "1e3",
  "__proto__",
  "x".repeat(300),
];

function text(next: (below: number) => number): string {
  return Array.from({ length: 1 + next(8) }, () => pieces[next(pieces.length)] ?? "").join("");
}

type Change = (config: RawConfig, value: string) => void;
const host =
  (key: string): Change =>
  (c, v) =>
    Object.assign((c.hosts as object[])[1] ?? {}, { [key]: v });
const under =
  (section: string, key: string): Change =>
  (c, v) =>
    Object.assign(c, { [section]: { ...(c[section] as object), [key]: v } });
const override =
  (component: string, kind: "flags" | "config", name?: string): Change =>
  (c, v) => {
    const overrides = c.overrides as Record<string, Record<string, Record<string, unknown>>>;
    define(overrides[component]?.[kind], name ?? v, name ? v : "x");
  };
/** The names of fields below a known one are the component's to judge. */
const nested =
  (component: string, field: string): Change =>
  (c, v) => {
    const below = {};
    define(below, v, "x");
    override(component, "config", field)(c, below as unknown as string);
  };
/** The key is made an own one, as JSON does. */
const define = (on: object | undefined, key: string, value: unknown): unknown =>
  Object.defineProperty(on, key, { value, enumerable: true, configurable: true, writable: true });

const user =
  (change: (v: string) => object): Change =>
  (c, v) =>
    Object.assign((c.users as object[])[0] ?? {}, change(v));

const settings: Record<string, Change> = {
  clusterName: (c, v) => Object.assign(c, { clusterName: v }),
  "hosts[].name": host("name"),
  "hosts[].user": host("user"),
  "hosts[].hostKey": (c, v) => host("hostKey")(c, `${hostKey} ${v}`),
  "hosts[].labels value": (c, v) => host("labels")(c, { a: v } as unknown as string),
  "hosts[].labels key": (c, v) => host("labels")(c, { [v]: "a" } as unknown as string),
  "hosts[].taints[].key": (c, v) => host("taints")(c, [{ key: v, effect: "PreferNoSchedule" }] as unknown as string),
  "hosts[].taints[].value": (c, v) =>
    host("taints")(c, [{ key: "a", value: v, effect: "PreferNoSchedule" }] as unknown as string),
  "network.dnsDomain": under("network", "dnsDomain"),
  "network.podCidr": under("network", "podCidr"),
  "network.serviceCidr": under("network", "serviceCidr"),
  "runtime.evictionHard": (c, v) => under("runtime", "evictionHard")(c, { "memory.available": v } as unknown as string),
  "certificates.extraApiSans": (c, v) => under("certificates", "extraApiSans")(c, [v] as unknown as string),
  "binaries.mirror": (c, v) => under("binaries", "mirror")(c, `https://example.com/${v}`),
  "users[].name": user((name) => ({ name })),
  "users[].groups": user((group) => ({ groups: [group] })),
  "users[].bindings[].clusterRole": user((clusterRole) => ({
    bindings: [{ clusterRole, namespace: "kube-public" }, { clusterRole: "view" }],
  })),
  "users[].bindings[].namespace": user((namespace) => ({
    bindings: [{ clusterRole: "admin", namespace }, { clusterRole: "view" }],
  })),
  "apiServer.audit.rules": (c, v) =>
    under("apiServer", "audit")(c, { rules: [{ level: "None", users: [v] }] } as unknown as string),
  "apiServer.audit.path": (c, v) =>
    under("apiServer", "audit")(c, { path: `/var/log/plainkube/${v}` } as unknown as string),
  "apiServer.admissionPlugins.config": (c, v) =>
    under("apiServer", "admissionPlugins")(c, { config: { PodNodeSelector: { a: v } } } as unknown as string),
  "apiServer.egressSelector": (c, v) =>
    under("apiServer", "egressSelector")(c, { cluster: `unix:///run/${v}` } as unknown as string),
  "apiServer.serviceAccounts.issuer": (c, v) =>
    under("apiServer", "serviceAccounts")(c, { issuer: `https://${v}` } as unknown as string),
  "apiServer.corsAllowedOrigins": (c, v) =>
    under("apiServer", "corsAllowedOrigins")(c, [`^https://a${v}$`] as unknown as string),
  "apiServer.externalHostname": under("apiServer", "externalHostname"),
  "overrides.etcd.config": override("etcd", "config", "logger"),
  "overrides.etcd.config by name": nested("etcd", "client-transport-security"),
  "overrides.kubeApiserver.flags": override("kubeApiserver", "flags", "audit-policy-file"),
  "overrides.kubeApiserver.flags by name": override("kubeApiserver", "flags"),
  "overrides.kubelet.flags": override("kubelet", "flags", "root-dir"),
  "overrides.kubelet.config": override("kubelet", "config", "hairpinMode"),
  "overrides.kubelet.config by name": nested("kubelet", "authentication"),
  "overrides.kubeScheduler.config": override("kubeScheduler", "config", "profiles"),
  "overrides.kubeProxy.config": override("kubeProxy", "config", "detectLocalMode"),
};

/** The configuration that values are put into; its host keys need no known_hosts file. */
function fuzzed(): RawConfig {
  const config = structuredClone(customConfig());
  return { ...config, hosts: (config.hosts as object[]).map((h) => ({ ...h, hostKey })) };
}

/** Every file that any host gets, by host and path. */
function render(config: RawConfig): Map<string, string> {
  const spec = specOf(config);
  const files = new Map<string, string>();
  for (const [i, h] of spec.hosts.entries()) {
    for (const payload of Object.values(payloadsOf(spec, h))) {
      for (const { path, content } of payload.files) files.set(`${i}${path}`, content);
    }
  }
  files.set("Corefile", renderCorefile(spec));
  const users = ["someone", ...spec.users.map((u) => u.name)].map((name) => ({ name, cert: "-", key: "-" }));
  const [admin, ...others] = users;
  assert.ok(admin);
  files.set("kubeconfig.yaml", renderKubeconfig(spec, "-", [admin, ...others]));
  files.set("users.sh", renderUserProbe(spec, admin, others));
  const endpoint = spec.hosts[1];
  assert.ok(endpoint);
  const order = {
    endpoint: { ...endpoint, host: endpoint.address },
    dialAttempts: 1,
    dialTimeoutSeconds: 1,
    layout: layoutOf(spec),
  };
  const { config: ssh, knownHosts } = sshConfig(order, "/tmp/x");
  return files.set("ssh_config", ssh).set("known_hosts", knownHosts);
}

/** What of a file must not change with a value, other than by whole flags. */
const structure = (path: string, content: string): unknown => {
  const lines = content.split("\n");
  if (!path.endsWith(".service")) return lines.length;
  return lines.filter((line) => !/^ +"?--/.test(line)).map((line) => line.replace(/=.*/, ""));
};

/** Every text in a value, the names of fields too. */
function strings(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return [...Object.keys(value), ...Object.values(value).flatMap(strings)];
}

for (const [name, change] of Object.entries(settings)) {
  test(`fuzzed: ${name}`, () => {
    const next = random(seed + name.length * 7919 + name.charCodeAt(name.length - 1));
    for (let round = 0; round < 40; round++) {
      const value = text(next);
      const config = fuzzed();
      change(config, value);
      const why = `${JSON.stringify(value)} in round ${round}, seed ${seed}`;
      let files: Map<string, string>;
      try {
        files = render(config);
      } catch (error) {
        assert.ok(error instanceof ConfigError, `${why}: ${error}`);
        continue;
      }
      for (const [path, content] of files) check(path, content, why);
      if (name.includes(".config")) {
        const yamls = [...files].filter(([path]) => path.endsWith(".yaml"));
        assert.ok(
          yamls.some(([, content]) => strings(parse(content)).includes(value)),
          `${why} is in no file as it was given`,
        );
      }
    }
  });
}

const shape = new Map([...render(fuzzed())].map(([path, content]) => [path, structure(path, content)]));

function check(path: string, content: string, why: string): void {
  assert.ok(!content.includes("\u0000"), `${why}: NUL in ${path}`);
  if (path.endsWith(".yaml") || path.endsWith(".template")) {
    assert.ok(typeof parse(content) === "object", `${why}: ${path}`);
  } else {
    assert.deepEqual(structure(path, content), shape.get(path), `${why}: ${path} has another structure`);
  }
}

test("a script stores the exact bytes of any text", () => {
  const next = random(seed);
  const contents = Array.from({ length: 60 }, () => text(next).replaceAll("\u0000", "").replaceAll("\ud800", ""));
  const files = contents.map((content, i) => ({ path: join(directory, `file ${i}'s $HOME`), content: `${content}\n` }));
  const secrets = contents.map((content, i) => ({ path: join(directory, `secret ${i}`), content }));
  const script = unpacked(phaseScript("fuzz", { files, units: [] }, secrets));
  assert.deepEqual(spawnSync("bash", ["-n"], { input: script, encoding: "utf8" }).stderr, "");
  // Only the functions that store are run, with a state folder of their own; `apply` would go on to systemd.
  const storing = script
    .slice("{\nmain() {\n".length, script.lastIndexOf("\napply\n"))
    .replace("\nbegin fuzz\n", `\nstate=${directory} phase=fuzz\n`);
  const args = ["-s", "--", "fuzz", "attempt"];
  const { status, stderr } = spawnSync("bash", args, { input: wholeScript(storing), encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
  for (const { path, content } of [...files, ...secrets]) {
    assert.equal(readFileSync(path, "utf8"), content, path);
  }
});
