/**
 * Random changes of whole configurations: each is refused in good words, or completed to a cluster that everything can be
 * rendered of. fast-check shrinks what fails and prints the seed and the path to it; PLAINKUBE_FUZZ_SEED takes another
 * seed, PLAINKUBE_FUZZ_RUNS more runs.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join, normalize } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { parse } from "yaml";
import { renderKubeconfig } from "../../components/access/kubeconfig.ts";
import { renderCorefile } from "../../components/dns/render.ts";
import { shellWord } from "../../components/host/shipment.ts";
import { sshConfig, sshTarget } from "../../components/host/ssh.ts";
import { withFlags, yaml } from "../../components/render.ts";
import { clusterSchema } from "../../components/schema.ts";
import { ConfigError } from "../../components/spec.ts";
import { maskSecrets } from "../../explore/mask.ts";
import {
  customConfig,
  devConfig,
  directory,
  exampleConfig,
  flannelConfig,
  hostKey,
  type RawConfig,
  specOf,
} from "./clusters.ts";
import { payloadsOf } from "./payloads.ts";

const parameters = (runs: number) => ({
  seed: Number(process.env.PLAINKUBE_FUZZ_SEED ?? 1),
  numRuns: Number(process.env.PLAINKUBE_FUZZ_RUNS ?? runs),
});

const injections = [
  ...["$(touch FOUND)", "`touch FOUND`", "'; touch FOUND; '", '"; touch FOUND; "', "\\", "%n %h", `\${HOME}`],
  ...["a\nExecStart=/bin/false", "-oProxyCommand=touch FOUND"],
  ...[
    "../../etc/passwd",
    "\u0000",
    "a: b",
    "# a",
    "*a",
    "&a",
    "!a",
    "@NAME@",
    "PLAINKUBE_END_OF_FILE",
    "__proto__",
    "constructor",
  ],
  ...[
    "\u202ea",
    "\u200b",
    "\ud800",
    "\u2028",
    "\u001b[2J",
    "1e3",
    "0x1",
    "yes",
    "null",
    "~",
    "0755",
    "10:20",
    "2026-01-01",
  ],
];
/** Text as people type it, as it is dangerous, or anything at all. */
const text = fc.oneof(
  fc.constantFrom(...injections),
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.string({ unit: "grapheme", maxLength: 30 }),
  fc
    .array(fc.oneof(fc.constantFrom(...injections), fc.string({ maxLength: 4 })), { maxLength: 4 })
    .map((t) => t.join("")),
);
const value = fc.oneof(
  text,
  fc.constantFrom<unknown>(null, true, false, 0, -1, 1e99, 0.5, 65536, [], {}, [[]], [null], "", " "),
  fc.json({ maxDepth: 3 }).map((json) => JSON.parse(json) as unknown),
);

/** Every place in a value, from the top down. */
function places(at: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof at !== "object" || at === null) return [path];
  return [path, ...Object.entries(at).flatMap(([key, inner]) => places(inner, [...path, key]))];
}

/** One change: where, counted round the configuration's places, and what. */
type Change = readonly [
  kind: "set" | "drop" | "add" | "copy",
  where: number,
  from: number,
  key: string,
  value: unknown,
];
const change: fc.Arbitrary<Change> = fc.tuple(
  fc.constantFrom("set" as const, "drop" as const, "add" as const, "copy" as const),
  fc.nat(),
  fc.nat(),
  fc.oneof(text, fc.constantFrom(...Object.keys(clusterSchema.shape))),
  value,
);

function changed(config: RawConfig, [kind, where, from, key, given]: Change): RawConfig {
  const copy = structuredClone(config);
  const all = places(copy).slice(1);
  const get = (path: readonly string[]) => path.reduce<unknown>((at, k) => Reflect.get(Object(at), k), copy);
  const path = all[where % Math.max(1, all.length)] ?? [];
  const holder = Object(get(path.slice(0, -1)));
  const name = path.at(-1) ?? "clusterName";
  const put = (on: object, at: string, what: unknown) =>
    Object.defineProperty(on, at, { value: what, enumerable: true, configurable: true, writable: true });
  if (kind === "set") put(holder, name, given);
  else if (kind === "drop") Reflect.deleteProperty(holder, name);
  else if (kind === "copy") put(holder, name, structuredClone(get(all[from % Math.max(1, all.length)] ?? [])));
  else {
    const inner = get(path);
    put(typeof inner === "object" && inner !== null && !Array.isArray(inner) ? inner : copy, key, given);
  }
  return copy;
}

const pinned = (config: RawConfig): RawConfig => ({
  ...config,
  hosts: (config.hosts as object[]).map((host) => ({ ...host, hostKey })),
});
const sound = [
  devConfig(),
  customConfig(),
  flannelConfig(),
  exampleConfig("full"),
  exampleConfig("minimal"),
  exampleConfig("api-only"),
].map(pinned);
const folders = /^\/(etc|opt|var\/lib)\//;

/** Renders all that a configuration leads to. Throws ConfigError. */
function assertRenders(config: RawConfig): void {
  const spec = specOf(config);
  for (const host of spec.hosts) {
    const { config: ssh, knownHosts } = sshConfig(sshTarget(spec, host), "/tmp/x");
    assert.equal(knownHosts.trimEnd().split("\n").length, spec.ssh.jump ? 2 : 1);
    assert.doesNotMatch(ssh, /^ *(ProxyCommand|LocalCommand|Include|Match)/m);
    for (const { files } of Object.values(payloadsOf(spec, host))) {
      for (const { path, content } of files) {
        assert.equal(normalize(path), path);
        assert.match(path, folders);
        assert.ok(!content.includes("\0"), path);
        if (/\.(yaml|conflist|template)$/.test(path)) assert.ok(parse(content), path);
        if (path.endsWith(".service")) assert.equal(content.match(/^ExecStart=/gm)?.length, 1, path);
      }
    }
  }
  assert.ok(renderCorefile(spec).includes(`${spec.network.dnsDomain} `));
  const kubeconfig = parse(renderKubeconfig(spec, "a", [{ name: "a", cert: "b", key: "c" }]));
  assert.equal(kubeconfig.clusters[0].name, spec.clusterName);
  assert.equal(kubeconfig["current-context"], `a@${spec.clusterName}`);
}

test("any change of a configuration is refused in good words, or rendered", () => {
  const outcomes = { refused: 0, rendered: 0 };
  fc.assert(
    fc.property(fc.constantFrom(...sound), fc.array(change, { minLength: 1, maxLength: 4 }), (config, changes) => {
      const wrong = changes.reduce(changed, config);
      const began = performance.now();
      try {
        assertRenders(wrong);
        outcomes.rendered++;
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        outcomes.refused++;
        assert.ok(error.problems.length > 0);
        for (const part of error.problems.flatMap(Object.values)) {
          assert.ok(
            part.length > 0 && part.length < 700 && !/(?! )[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}]/u.test(part),
            JSON.stringify(part),
          );
          assert.doesNotMatch(part, /^record$|Invalid input|\[object/);
        }
      }
      assert.ok(performance.now() - began < 1000, "within a second");
    }),
    parameters(1000),
  );
  assert.ok(outcomes.refused > 100 && outcomes.rendered > 20, JSON.stringify(outcomes));
});

test("a shell takes a word as it is", () => {
  const words = fc.sample(text, parameters(300)).filter((word) => !word.includes("\0") && word.isWellFormed());
  const script = words.map((word) => `printf '%s\\0' ${shellWord(word)}`).join("\n");
  const { stdout, stderr } = spawnSync("bash", ["--norc", "-euc", script], { cwd: directory, encoding: "utf8" });
  assert.equal(stderr, "");
  assert.deepEqual(stdout.split("\0").slice(0, -1), words);
  assert.ok(!readdirSync(directory).includes("FOUND"));
});

test("YAML is parsed back as it was", () => {
  fc.assert(
    fc.property(
      fc.dictionary(
        text.filter((t) => t !== "__proto__"),
        value,
      ),
      (object) => {
        const plain = JSON.parse(JSON.stringify(object));
        for (const version of ["1.1", "1.2"] as const) assert.deepEqual(parse(yaml(plain), { version }), plain);
      },
    ),
    parameters(300),
  );
});

/** A line of flags for a unit: what the schema lets through. */
const flagText = text.filter((t) => clusterSchema.shape.overrides.safeParse({ kubelet: { flags: { v: t } } }).success);

/** The words that systemd makes of a command line (systemd.service(5), "Command lines"), its specifiers and variables resolved. */
function words(command: string): string[] {
  const found: string[] = [];
  const word = /\s*((?:"(?:\\.|[^"\\])*"|[^\s"'\\])+)/gy;
  for (let match = word.exec(command); match; match = word.exec(command)) {
    const plain = (match[1] ?? "").replace(/^"([\s\S]*)"$/, "$1").replace(/\\(["\\])/g, "$1");
    assert.doesNotMatch(plain.replaceAll("%%", ""), /%/, "a specifier");
    assert.doesNotMatch(plain.replaceAll("$$", ""), /\$/, "a variable");
    found.push(plain.replaceAll("%%", "%").replaceAll("$$", "$"));
  }
  assert.equal(found.length > 0 || command.trim() === "", true);
  return found;
}

test("a unit's arguments are taken as they are", () => {
  fc.assert(
    fc.property(fc.array(flagText, { maxLength: 5 }), (values) => {
      const flags = Object.fromEntries(values.map((v, i) => [`flag-${i}`, v]));
      const unit = withFlags("[Service]\nExecStart=/bin/x\nRestart=always\n", flags);
      const [, command = "", rest] = /^\[Service\]\nExecStart=\/bin\/x([\s\S]*)\n(Restart=always\n)$/.exec(unit) ?? [];
      assert.equal(rest, "Restart=always\n");
      const lines = command.split(" \\\n").slice(1);
      assert.deepEqual(
        lines.flatMap(words),
        values.map((v, i) => `--flag-${i}=${v}`),
      );
      assert.equal(lines.length, values.length);
    }),
    parameters(500),
  );
});

test("systemd reads units with any flags", async () => {
  const folder = join(directory, "units");
  await mkdir(folder);
  const samples = fc.sample(flagText, parameters(200));
  for (let i = 0; i < samples.length; i += 20) {
    const flags = Object.fromEntries(samples.slice(i, i + 20).map((v, n) => [`flag-${n}`, v]));
    await writeFile(join(folder, `any-${i}.service`), withFlags("[Service]\nExecStart=/bin/true\n", flags));
  }
  const files = readdirSync(folder).map((name) => join(folder, name));
  const { status, stderr } = spawnSync("systemd-analyze", ["verify", ...files], { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
});

test("ssh takes nothing of a path or a name for a setting", async () => {
  const paths = fc.sample(text, parameters(60)).filter((t) => t !== "" && !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(t));
  const [config] = sound;
  assert.ok(config);
  const spec = specOf(config);
  for (const path of [...paths, 'a" "b', `%h \${HOME}`]) {
    const target = { ...sshTarget(spec, spec.controlPlane), privateKeyFile: path };
    const file = join(directory, "ssh_config");
    await writeFile(file, sshConfig(target, "/tmp/100%").config);
    const { stdout, stderr } = spawnSync("ssh", ["-G", "-F", file, "target"], { encoding: "utf8" });
    assert.equal(stderr, "");
    const settings = new Map(stdout.split("\n").map((line) => [line.split(" ")[0] ?? "", line]));
    assert.deepEqual(
      ["hostname", "user", "port", "proxycommand", "stricthostkeychecking"].map((key) => settings.get(key)),
      [`hostname ${spec.controlPlane.address}`, "user root", "port 22", undefined, "stricthostkeychecking true"],
    );
  }
});

test("no value of a Secret gets past the mask, whatever the API answers", () => {
  const hidden = fc.uuid().map((id) => Buffer.from(id).toString("base64"));
  const secret = (value: string) =>
    fc.record({
      apiVersion: fc.constant("v1"),
      kind: fc.constant("Secret"),
      metadata: fc.constantFrom<unknown>(undefined, null, "text", {
        annotations: { "kubectl.kubernetes.io/last-applied-configuration": value },
      }),
      data: fc.dictionary(text, fc.constant(value)),
      stringData: fc.constantFrom<unknown>(undefined, { a: value }),
    });
  fc.assert(
    fc.property(
      hidden.chain((value) => fc.tuple(fc.constant(value), fc.array(secret(value), { minLength: 1, maxLength: 3 }))),
      fc.constantFrom("SecretList", "List"),
      ([value, items], kind) => {
        for (const answer of [items[0], { apiVersion: "v1", kind, items }]) {
          assert.ok(!JSON.stringify(maskSecrets(answer)).includes(value));
        }
      },
    ),
    parameters(300),
  );
});
