/**
 * Rules of ours go and others' stay: the scripts that take them away, with the real plugin, iptables and nft of a host, in a network
 * namespace of their own. Whole hosts are given back in tests/e2e/teardown.test.ts.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { obtain, resolveSource } from "../../components/binaries/obtain.ts";
import { pinsFor } from "../../components/binaries/pins.ts";
import { clusterSchema } from "../../components/schema.ts";
import { supportedVersions } from "../../components/versions.ts";
import { ensureBase } from "../../lab/base.ts";
import { run } from "../../lab/shell.ts";
import { projectDirectory } from "../../lab/stack.ts";
import { cacheRoot } from "../../toolchain/cache.ts";

const log = (line: string) => console.error(`# ${line}`);
const { binaries } = clusterSchema.pick({ binaries: true }).parse({});
const settings = await resolveSource(binaries, log);
const [versions] = Object.values(supportedVersions);
assert.ok(versions);
const portmap = (await obtain(pinsFor(["portmap"], versions, "amd64", settings), settings, log)).get("portmap");
assert.ok(portmap);
const base = await ensureBase(log);

/** What netfilter.sh of this folder prints, in a root of its own over the lab's base. */
async function scene(other: "yes" | "no", backend: "iptables" | "nftables"): Promise<string> {
  const scratch = await mkdtemp(join(cacheRoot(), "netfilter-"));
  const scripts = ["given-back", "netfilter", "reset"].map((name) =>
    join(projectDirectory, `components/host/${name}.sh`),
  );
  const enter = `set -e
    mkdir "$1/upper" "$1/work" "$1/root"
    mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
    mount -t proc proc "$1/root/proc"
    mount --bind /dev "$1/root/dev"
    ip link set lo up
    install -m 0755 "$3" "$1/root/portmap"
    cp "$4" "$1/root/scene"
    root=$1/root other=$5 backend=$6
    shift 6
    cp "$@" "$root/"
    exec chroot "$root" bash /scene "$other" "$backend"`;
  try {
    const scenery = [scratch, base, portmap?.path ?? "", join(import.meta.dirname, "netfilter.sh"), other, backend];
    const { code, stdout, stderr } = await run(
      ["unshare", "--mount", "--net", "bash", "-c", enter, "bash", ...scenery, ...scripts],
      { env: { ...process.env, LC_ALL: "C" } },
    );
    assert.equal(code, 0, stdout + stderr);
    return stdout;
  } finally {
    await rm(scratch, { recursive: true });
  }
}

for (const backend of ["iptables", "nftables"] as const) {
  for (const other of ["yes", "no"] as const) {
    test(`${backend}: another's published port: ${other}`, async () => {
      // iptables' rule is seen by both tools.
      const ours = backend === "iptables" ? 2 : 1;
      assert.equal(await scene(other, backend), `ours: ${ours}\nours without host ports: 0 6\nas before\n`);
    });
  }
}
