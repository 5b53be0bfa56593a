import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { unpack } from "../../conformance/registry.ts";
import { assembleImage } from "../../toolchain/images.ts";
import { useTemporary } from "../toolchain/temporary.ts";

const t = useTemporary();

interface Blob {
  readonly digest: string;
  readonly size: number;
}

interface Manifest {
  readonly config: Blob;
  readonly layers: readonly Blob[];
}

const sha256 = async (response: Response) =>
  `sha256:${createHash("sha256")
    .update(Buffer.from(await response.arrayBuffer()))
    .digest("hex")}`;

test("an image is pulled from the registry by tag and by digest; what it does not have is not found", async () => {
  const directory = join(t.dir, "registry");
  await mkdir(directory);
  const image = (name: string) =>
    assembleImage({
      ref: `registry.k8s.io/${name}`,
      arch: "amd64",
      files: [{ path: "/name", content: name }],
      entrypoint: [],
    });
  await unpack([await image("some/tool:1.0"), await image("other:2.0-1")], directory);
  const script = join(import.meta.dirname, "../../conformance/registry-server.ts");
  const server = spawn(process.execPath, [script, directory, "127.0.0.1", "0"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const [line] = await once(server.stdout.setEncoding("utf8"), "data");
    const base = `http://127.0.0.1:${/^listening on port (\d+)\n$/.exec(line)?.[1]}/v2`;
    assert.equal((await fetch(`${base}/`)).status, 200);

    // With the parameter that containerd appends.
    const byTag = await fetch(`${base}/some/tool/manifests/1.0?ns=registry.k8s.io`);
    assert.equal(byTag.headers.get("content-type"), "application/vnd.oci.image.manifest.v1+json");
    const digest = byTag.headers.get("docker-content-digest") ?? "";
    const manifest: Manifest = JSON.parse(await byTag.clone().text());
    assert.equal(await sha256(byTag), digest);
    assert.equal(await sha256(await fetch(`${base}/some/tool/manifests/${digest}`)), digest);
    for (const blob of [manifest.config, ...manifest.layers]) {
      const head = await fetch(`${base}/some/tool/blobs/${blob.digest}`, { method: "HEAD" });
      assert.deepEqual([head.status, Number(head.headers.get("content-length"))], [200, blob.size]);
      assert.equal(await sha256(await fetch(`${base}/some/tool/blobs/${blob.digest}`)), blob.digest);
    }

    assert.equal((await fetch(`${base}/other/manifests/2.0-1`)).status, 200);
    const missing = ["some/tool/manifests/2.0-1", `some/tool/blobs/sha256:${"0".repeat(64)}`, "some/tool/blobs/none"];
    for (const path of missing) assert.equal((await fetch(`${base}/${path}`)).status, 404, path);

    server.stdin.end();
    assert.deepEqual(
      await once(server, "close", { signal: AbortSignal.timeout(10_000) }),
      [0, null],
      "it ends with its input",
    );
  } finally {
    server.kill();
  }
});

test("an image of another registry is refused", async () => {
  const image = await assembleImage({ ref: "example.test/tool:1.0", arch: "amd64", files: [], entrypoint: [] });
  await assert.rejects(unpack([image], t.dir), {
    message:
      "image example.test/tool:1.0: got no image of registry.k8s.io, expected one; correct it in conformance/images.ts",
  });
});
