import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { assembleImage, type ImageSpec, imageDigest, imageRef } from "../../toolchain/images.ts";
import { writeTar } from "../../toolchain/tar.ts";
import { useTemporary } from "./temporary.ts";

const t = useTemporary();

async function spec(name = "program"): Promise<ImageSpec> {
  const source = join(t.dir, name);
  await fs.writeFile(source, "a program\n".repeat(1000));
  return {
    ref: "plainkube.local/thing:1.2.3",
    arch: "arm64",
    files: [
      { path: "/usr/bin/thing", source },
      { path: "/etc/thing/config", content: "x: 1\n", mode: 0o640 },
      { path: "/bin", symlink: "usr/bin" },
    ],
    entrypoint: ["/usr/bin/thing", "serve"],
    env: { MODE: "test" },
    user: "65532:65532",
    workdir: "/var/lib/thing",
    dirs: { "/tmp": 0o1777 },
  };
}

const digest = (content: Buffer) => `sha256:${createHash("sha256").update(content).digest("hex")}`;

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

test("an image is a whole OCI layout: every descriptor's digest and size hold, down to the files", async () => {
  const image = await assembleImage(await spec());
  assert.equal(image.ref, "plainkube.local/thing:1.2.3");
  const out = join(t.dir, "out");
  await fs.mkdir(out);
  execFileSync("tar", ["-xf", image.path, "-C", out]);
  const read = async (descriptor: Descriptor) => {
    const content = await fs.readFile(join(out, "blobs/sha256", descriptor.digest.replace("sha256:", "")));
    assert.equal(digest(content), descriptor.digest);
    assert.equal(content.length, descriptor.size);
    return content;
  };
  assert.deepEqual(JSON.parse(await fs.readFile(join(out, "oci-layout"), "utf8")), { imageLayoutVersion: "1.0.0" });
  const index = JSON.parse(await fs.readFile(join(out, "index.json"), "utf8"));
  assert.equal(index.manifests.length, 1);
  assert.deepEqual(index.manifests[0].platform, { architecture: "arm64", os: "linux" });
  assert.equal(index.manifests[0].annotations["io.containerd.image.name"], "plainkube.local/thing:1.2.3");
  const manifest = JSON.parse((await read(index.manifests[0])).toString());
  const config = JSON.parse((await read(manifest.config)).toString());
  const layer = await read(manifest.layers[0]);
  assert.equal((await fs.readdir(join(out, "blobs/sha256"))).length, 3, "nothing but manifest, config and layer");
  assert.deepEqual(config.rootfs, { type: "layers", diff_ids: [digest(layer)] });
  assert.deepEqual([config.architecture, config.os], ["arm64", "linux"]);
  assert.deepEqual(config.config, {
    User: "65532:65532",
    Env: ["PATH=/usr/local/bin:/usr/bin:/bin", "MODE=test"],
    Entrypoint: ["/usr/bin/thing", "serve"],
    WorkingDir: "/var/lib/thing",
  });

  const file = join(t.dir, "layer.tar");
  await fs.writeFile(file, layer);
  const listing = execFileSync("tar", ["-tvf", file, "--numeric-owner", "--utc"], { encoding: "utf8" });
  assert.deepEqual(
    listing
      .trim()
      .split("\n")
      .map((line) => line.replace(/\s+/g, " ")),
    [
      "lrwxrwxrwx 0/0 0 1970-01-01 00:00 bin -> usr/bin",
      "drwxr-xr-x 0/0 0 1970-01-01 00:00 etc/",
      "drwxr-xr-x 0/0 0 1970-01-01 00:00 etc/thing/",
      "-rw-r----- 0/0 5 1970-01-01 00:00 etc/thing/config",
      "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/",
      "drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/",
      "drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/bin/",
      "-rwxr-xr-x 0/0 10000 1970-01-01 00:00 usr/bin/thing",
    ],
  );
  assert.equal(execFileSync("tar", ["-xOf", file, "etc/thing/config"], { encoding: "utf8" }), "x: 1\n");
});

test("equal specs give equal bytes, in another cache, at another time, from another place", async () => {
  const first = await assembleImage(await spec("program"));
  process.env.PLAINKUBE_CACHE = join(t.dir, "other-cache");
  const again = await spec("moved");
  const second = await assembleImage({ ...again, files: [...again.files].reverse() });
  assert.notEqual(first.path, second.path);
  assert.equal(first.sha256, second.sha256);
});

test("an image that is there is not made again; a changed program or setting makes another", async () => {
  const what = await spec();
  const first = await assembleImage(what);
  const { ino } = await fs.stat(first.path);
  assert.deepEqual(await assembleImage(what), first);
  assert.equal((await fs.stat(first.path)).ino, ino);
  assert.notEqual((await assembleImage({ ...what, user: "1" })).sha256, first.sha256);
  await fs.appendFile(join(t.dir, "program"), "changed");
  assert.notEqual((await assembleImage(what)).sha256, first.sha256);
});

test("paths that leave the image and references without a tag are refused", async () => {
  const what = await spec();
  await assert.rejects(
    assembleImage({ ...what, files: [{ path: "etc/x", content: "" }] }),
    /expected an absolute path/,
  );
  await assert.rejects(
    assembleImage({ ...what, files: [{ path: "/a/../../x", content: "" }] }),
    /expected an absolute path/,
  );
  await assert.rejects(assembleImage({ ...what, ref: "plainkube.local/thing" }), /expected name:tag/);
});

test("the digest of an image follows its program, version and architecture", () => {
  const all = [
    imageDigest("coredns", "1.14.7", "amd64", "modules:sha256:aa"),
    imageDigest("coredns", "1.14.7", "amd64", "modules:sha256:bb"),
    imageDigest("coredns", "1.14.8", "amd64", "modules:sha256:aa"),
    imageDigest("coredns", "1.14.7", "arm64", "modules:sha256:aa"),
    imageDigest("pause", "1.14.7", "amd64", "modules:sha256:aa"),
  ];
  assert.equal(new Set(all).size, all.length);
  assert.equal(imageRef("pause", "1.0.0"), "plainkube.local/pause:1.0.0");
});

test("long paths go into the archive whole, and too long ones are refused", async () => {
  const path = `${"folder/".repeat(20)}file`;
  const file = join(t.dir, "long.tar");
  const entry = { type: "file", mode: 0o644, size: 1, content: Buffer.from("x") } as const;
  await writeTar([{ ...entry, path }], file);
  assert.equal(execFileSync("tar", ["-tf", file], { encoding: "utf8" }), `${path}\n`);
  await assert.rejects(writeTar([{ ...entry, path: "n".repeat(101) }], file), /too long for a tar archive/);
  await assert.rejects(
    writeTar([{ ...entry, path: "x", size: 2 }], file),
    /changed while it was packed: got 1 bytes, expected 2/,
  );
});
