/** What is rendered for a version, checked against what the programs of that version know (known.txt). */
import assert from "node:assert/strict";
import { basename } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { programOf, settingNeeds } from "../../components/compatibility/check.ts";
import { knownVersions, type Program, versionsWith } from "../../components/compatibility/table.ts";
import { overridable } from "../../components/schema.ts";
import type { ClusterSpec } from "../../components/spec.ts";
import { atLeast, supportedVersions, type VersionSet } from "../../components/versions.ts";
import { customConfig, devConfig, specOf } from "./clusters.ts";
import { payloadsOf } from "./payloads.ts";

const programs = Object.keys(overridable).map(programOf);
const versionOf = (program: Program, set: VersionSet) => (program === "etcd" ? set.etcd : set.kubernetes);

test("the table knows every version of every program, and no other", () => {
  for (const program of programs) {
    const used = Object.values(supportedVersions).map((set) => versionOf(program, set));
    assert.deepEqual(knownVersions(program), [...new Set(used)], `${program}: run \`npm run flags\``);
  }
});

/** Program → the flags and fields that a cluster's hosts get for it. */
function rendered(spec: ClusterSpec): Map<Program, Set<string>> {
  const names = new Map<Program, Set<string>>();
  for (const host of spec.hosts) {
    const files = Object.values(payloadsOf(spec, host)).flatMap(({ files }) => files);
    for (const { path, content } of files.filter(({ path }) => path.endsWith(".service"))) {
      const [, command = ""] = /^ExecStart=((?:.*\\\n)*.*)$/m.exec(content) ?? [];
      const program = programs.find((one) => one === basename(command.split(/\s/)[0] ?? ""));
      if (!program) continue;
      const found = names.get(program) ?? new Set();
      names.set(program, found);
      const [, configFile] = /--config(?:-file)?=(\S+)/.exec(command) ?? [];
      // etcd's own flags are not in the table: its unit has but one.
      if (program !== "etcd") for (const [, flag = ""] of command.matchAll(/\s"?(--[\w-]+)/g)) found.add(flag);
      const config = files.find((file) => file.path === configFile);
      assert.equal(config === undefined, configFile === undefined, `${path} names ${configFile}`);
      for (const field of Object.keys(config ? parse(config.content) : {})) found.add(field);
    }
  }
  return names;
}

for (const set of Object.values(supportedVersions)) {
  test(`what hosts get for ${set.kubernetes} is known to its programs`, () => {
    // What is refused for older versions is left out for them.
    const { network, addons, ...custom } = customConfig();
    const { kubeProxyMode, ...older } = network as Record<string, unknown>;
    const fitting = atLeast(set.kubernetes, "1.34") ? { network, addons } : { network: older };
    for (const config of [devConfig(), { ...custom, ...fitting }]) {
      const names = rendered(specOf({ ...config, versions: { kubernetes: set.kubernetes } }));
      assert.deepEqual([...names.keys()].sort(), [...programs].sort());
      for (const [program, found] of names) {
        const version = versionOf(program, set);
        assert.ok(found.size > 3, `${program}: found only ${[...found]}`);
        const unknown = [...found].filter((name) => !versionsWith(program, name).includes(version));
        assert.deepEqual(unknown, [], `${program} ${version} does not know these`);
      }
    }
  });
}

test("every setting that needs a version is one of the schema", () => {
  for (const { setting, value } of settingNeeds) {
    const raw = setting.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value ?? "1Gi");
    assert.doesNotThrow(() => specOf({ ...devConfig(), ...(raw as object) }), setting.join("."));
  }
});
