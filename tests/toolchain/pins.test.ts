import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { obtain, resolveSource } from "../../components/binaries/obtain.ts";
import { type BinarySettings, pinsFor, recipeOf } from "../../components/binaries/pins.ts";
import {
  type Component,
  componentOf,
  releaseOf,
  supportedVersions,
  unsupportedVersion,
  versionKey,
} from "../../components/versions.ts";
import { type Recipe, recipe, recipeKey } from "../../toolchain/modules.ts";
import { pluginVersions } from "../../toolchain/pulumi-releases.ts";
import { memory, useTemporary } from "./temporary.ts";

const t = useTemporary();
const newest = Object.values(supportedVersions)[0];
assert.ok(newest);
const versions = newest;
const own = ["pause.tar", "workload.tar", "metrics-server.tar", "volume-helper.tar", "kubelet-serving-approver"];
const names = ["etcd", "kubelet", "runc", "bridge", "coredns", "coredns.tar", ...own];
const digests = (settings: BinarySettings, arch: "amd64" | "arm64" = "amd64") =>
  Object.fromEntries(pinsFor(names, versions, arch, settings).map((pin) => [pin.name, pin.digest]));

test("pins are made in the order asked for, with version and architecture", () => {
  assert.deepEqual(pinsFor(["runc", "etcd"], versions, "amd64", { source: "release" }), [
    {
      name: "runc",
      version: "1.4.3",
      arch: "amd64",
      digest: "release:sha256:f6ae8efc0fa40079e1475e97cbe9d1bd3f106a28d6af78a11d9f1bd565515e60#runc",
    },
    {
      name: "etcd",
      version: "3.6.8",
      arch: "amd64",
      digest: "release:sha256:cf9cfe91a4856cb90eed9c99e6aee4b708db2c7888b88a6f116281f04b0ea693#etcd",
    },
  ]);
});

test("equal settings give equal pins, without cache and network; mirror equals release; modules differ", () => {
  assert.deepEqual(digests({ source: "modules" }), digests({ source: "modules" }));
  assert.deepEqual(digests({ source: "release" }), digests({ source: "mirror", mirror: "http://127.0.0.1:1" }));
  const [release, modules] = [digests({ source: "release" }), digests({ source: "modules" })];
  // What is our own is built from its module under every source.
  const same = Object.keys(release).filter((name) => release[name] === modules[name]);
  assert.deepEqual(same, own);
});

test("the architecture is part of every pin", () => {
  const [amd64, arm64] = [digests({ source: "modules" }), digests({ source: "modules" }, "arm64")];
  for (const name of names) assert.notEqual(amd64[name], arm64[name], name);
});

test("a checksum that nobody knows is refused with the setting that pins it, and taken from there", () => {
  const wrong = () => pinsFor(["coredns", "coredns.tar", "nope"], versions, "arm64", { source: "release" });
  assert.throws(wrong, (error: Error) => {
    const lines = error.message.split("\n");
    assert.equal(lines.length, 2, "each problem once, all together");
    assert.match(
      lines[0] ?? "",
      /coredns 1\.14\.7 arm64: no checksum .*set plainkube:binaries\.checksums\.coredns-arm64/,
    );
    assert.match(lines[1] ?? "", /binary: got nope, expected one of/);
    return true;
  });
  const pinned = "AB".repeat(32);
  for (const key of ["coredns", "coredns-arm64"]) {
    const settings = { source: "release", checksums: { [key]: pinned } } as const;
    const [pin] = pinsFor(["coredns"], versions, "arm64", settings);
    assert.equal(pin?.digest, `release:sha256:${pinned.toLowerCase()}#coredns`);
  }
});

test("an undecided source is an error of the program", () => {
  assert.throws(() => pinsFor(["etcd"], versions, "amd64", { source: "auto" }), /call resolveSource first/);
});

test("a recipe's key follows its sources, sums and flags, and nothing else", async () => {
  const toolchain = join(import.meta.dirname, "../../toolchain");
  const etcd = recipe("etcd");
  const key = recipeKey(etcd, "amd64");
  await fs.cp(join(toolchain, "etcd"), join(t.dir, "etcd"), { recursive: true });
  const there = (what: Recipe = etcd) => recipeKey(what, "amd64", t.dir);
  assert.equal(there(), key, "the place does not matter");
  await fs.writeFile(join(t.dir, "etcd", "notes.md"), "x");
  assert.equal(there(), key, "notes do not matter");
  assert.equal(there({ ...etcd, disk: 99 }), key, "the disk estimate does not matter");
  const seen = new Set([key, there({ ...etcd, set: { "main.x": "1" } }), there({ ...etcd, cgoTags: "netgo" })]);
  await fs.appendFile(join(t.dir, "etcd", "go.sum"), "x v1.0.0 h1:x\n");
  seen.add(there());
  await fs.appendFile(join(t.dir, "etcd", "go.mod"), "// x\n");
  seen.add(there());
  await fs.writeFile(join(t.dir, "etcd", "main.go"), "package main\n");
  seen.add(there());
  assert.equal(seen.size, 6);
});

test("every supported version can be built from modules and has its checksums for amd64", () => {
  for (const set of Object.values(supportedVersions)) {
    for (const component of Object.keys(versionKey) as Component[]) {
      const version = set[versionKey[component]];
      const release = releaseOf(component, version, "amd64");
      const digest = release.checksum?.digest ?? "";
      assert.equal(digest.length, release.checksum?.algorithm === "sha512" ? 128 : 64, component);
      assert.ok(release.url.includes(version), release.url);
      const built = Object.keys(recipeOf(component, version).packages);
      const members = Object.keys(release.members ?? { [component]: "" });
      // No host gets kubeadm: only the default version's is built.
      const missing = members.filter((name) => !built.includes(name) && name !== "kubeadm");
      assert.deepEqual(missing, [], `${component} ${version}`);
      const unknown = built.filter((name) => !members.includes(name));
      assert.deepEqual(unknown, [], `${component} ${version}`);
    }
  }
  assert.equal(componentOf("kube-proxy"), "kubernetes-server");
  assert.match(unsupportedVersion("1.2.3").expected, /1\.36\.3/);
});

test("the plugins have the versions of their npm packages", async () => {
  const { dependencies } = JSON.parse(await fs.readFile(join(import.meta.dirname, "../../package.json"), "utf8"));
  for (const [plugin, version] of Object.entries(pluginVersions)) {
    assert.equal(dependencies[`@pulumi/${plugin}`], version);
    const name = plugin === "tls" || plugin === "random" ? "plugin-terraform" : `plugin-${plugin}`;
    assert.ok(recipe(name).version.split("+").includes(version), plugin);
  }
});

// The first 20 bytes of a program, as far as they are looked at.
function elf(machine: number, rest: string): Buffer {
  const head = Buffer.alloc(20);
  head.write("\x7fELF", "latin1");
  head.writeUInt16LE(machine, 18);
  return Buffer.concat([head, Buffer.from(rest)]);
}

async function directory(files: Readonly<Record<string, Buffer>>): Promise<string> {
  const dir = join(t.dir, "binaries");
  await fs.mkdir(dir, { recursive: true });
  for (const [name, content] of Object.entries(files)) await fs.writeFile(join(dir, name), content);
  return dir;
}

const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex");

test("binaries in a folder are pinned by their content and obtained from there, images around them too", async () => {
  const content = elf(62, "kubelet");
  const settings = { source: "directory", directory: await directory({ kubelet: content, coredns: content }) } as const;
  const pins = pinsFor(["coredns.tar", "kubelet"], versions, "amd64", settings);
  assert.equal(pins[1]?.digest, `file:sha256:${sha256(content)}`);
  const files = await obtain(pins, settings, () => {});
  assert.equal(files.get("kubelet")?.sha256, sha256(content));
  assert.ok(files.get("coredns.tar"));
  await directory({ coredns: elf(62, "other") });
  assert.notEqual(pinsFor(["coredns.tar"], versions, "amd64", settings)[0]?.digest, pins[0]?.digest);
  await assert.rejects(
    obtain(pins, settings, () => {}),
    /coredns\.tar .*something changed since the pin was made/,
  );
});

test("a file in the folder that is missing, differs from the set checksum, or is for another processor is refused", async () => {
  const settings: BinarySettings = { source: "directory", directory: await directory({ runc: elf(183, "x") }) };
  assert.throws(
    () => pinsFor(["etcd"], versions, "amd64", settings),
    /etcd: got no file, expected the amd64 binary etcd; put it there/,
  );
  const wrong = { ...settings, checksums: { runc: "00".repeat(32) } };
  const pins = pinsFor(["runc"], versions, "arm64", wrong);
  await assert.rejects(
    obtain(pins, wrong, () => {}),
    /wrong checksum: got sha256 [0-9a-f]{64}, expected 0{64}; put the right file there/,
  );
  const forArm = pinsFor(["runc"], versions, "amd64", settings);
  await assert.rejects(
    obtain(forArm, settings, () => {}),
    /got a program for arm64, expected amd64/,
  );
});

test("auto under PLAINKUBE_OFFLINE decides for that run alone", async () => {
  const { lines, log } = memory();
  assert.equal((await resolveSource({ source: "auto" }, log)).source, "modules");
  assert.match(
    lines[0] ?? "",
    /binaries come from modules \(not release: PLAINKUBE_OFFLINE=1 is set; not mirror: .* not set\)/,
  );
  await assert.rejects(fs.readFile(autoRecord(), "utf8"), /ENOENT/);
});

test("auto decides once and remembers; other settings decide anew", async () => {
  // Where there is no network at all, so that asking the official sites leaves this machine in no case.
  const decide = `
    const { resolveSource } = await import(${JSON.stringify(new URL("../../components/binaries/obtain.ts", import.meta.url).href)});
    console.log((await resolveSource({ source: "auto" }, console.error)).source);`;
  const { PLAINKUBE_OFFLINE: _, ...env } = process.env;
  const args = ["--net", "--", process.execPath, "--input-type=module", "--eval", decide];
  const first = spawnSync("unshare", args, { env, encoding: "utf8" });
  assert.deepEqual([first.status, first.stdout], [0, "modules\n"], first.stderr);
  assert.match(first.stderr, /not release: /);
  const second = spawnSync("unshare", args, { env, encoding: "utf8" });
  assert.deepEqual([second.stdout, second.stderr], ["modules\n", ""], "it neither asks nor says so again");

  const remembered = JSON.parse(await fs.readFile(autoRecord(), "utf8"));
  await fs.writeFile(autoRecord(), JSON.stringify({ ...remembered, source: "directory" }));
  const { log } = memory();
  assert.equal((await resolveSource({ source: "auto" }, log)).source, "directory");
  assert.equal((await resolveSource({ source: "auto", mirror: "http://127.0.0.1:1" }, log)).source, "modules");
  assert.equal((await resolveSource({ source: "release" }, log)).source, "release");
});

const autoRecord = (): string => join(process.env.PLAINKUBE_CACHE ?? "", "auto-source.json");
