import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { obtain, resolveSource } from "../../components/binaries/obtain.ts";
import { type BinarySettings, pinsFor } from "../../components/binaries/pins.ts";
import { supportedVersions } from "../../components/versions.ts";
import { cacheRoot } from "../../toolchain/cache.ts";
import { whyUnreachable } from "../../toolchain/download.ts";
import { mirrored, obtainRelease, type ReleaseArtifact } from "../../toolchain/releases.ts";
import { memory, useTemporary } from "./temporary.ts";

const t = useTemporary();

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let close = () => {};
afterEach(() => close());

/** A mirror on this machine. `requests` records path and range of all that it was asked for. */
async function serve(handler: Handler): Promise<{ readonly mirror: string; readonly requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push([request.method, request.url, request.headers.range].filter(Boolean).join(" "));
    handler(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { mirror: `http://127.0.0.1:${(server.address() as AddressInfo).port}/base/`, requests };
}

/** An archive with two programs, one of them written with a leading ./ as some releases do. */
async function archive(): Promise<Buffer> {
  await fs.mkdir(join(t.dir, "release", "bin"), { recursive: true });
  await fs.writeFile(join(t.dir, "release", "bin", "one"), "first program\n".repeat(20_000));
  await fs.writeFile(join(t.dir, "release", "two"), "second program\n");
  await fs.writeFile(join(t.dir, "release", "README"), "not wanted\n");
  const file = join(t.dir, "release.tar.gz");
  execFileSync("tar", ["-czf", file, "-C", join(t.dir, "release"), "bin/one", "./two", "README"]);
  return fs.readFile(file);
}

const digestOf = (content: Buffer, algorithm = "sha512") => createHash(algorithm).update(content).digest("hex");

function artifactFor(content: Buffer, digest = digestOf(content)): ReleaseArtifact {
  return {
    name: "thing",
    version: "1.2.3",
    arch: "amd64",
    url: "https://downloads.invalid/v1.2.3/thing.tar.gz",
    checksum: { algorithm: "sha512", digest, readFrom: "this test" },
    members: { one: "bin/one", two: "two" },
  };
}

const setting = "plainkube:binaries.checksums.thing-amd64";
const downloads = () => fs.readdir(join(cacheRoot(), "downloads")).catch(() => []);
const blobs = () => fs.readdir(join(cacheRoot(), "blobs")).catch(() => []);

test("a release is downloaded from the mirror once, verified, unpacked and kept", async () => {
  const content = await archive();
  const { mirror, requests } = await serve((_, response) => response.end(content));
  const files = await obtainRelease(artifactFor(content), { mirror, setting }, () => {});
  assert.deepEqual(Object.keys(files).sort(), ["one", "two"]);
  assert.equal(await fs.readFile(files.two?.path ?? "", "utf8"), "second program\n");
  assert.deepEqual(requests, ["GET /base/downloads.invalid/v1.2.3/thing.tar.gz"]);
  assert.deepEqual(await obtainRelease(artifactFor(content), { mirror, setting }, () => {}), files);
  assert.equal(requests.length, 1);
  assert.deepEqual(await downloads(), [], "the archive itself is not kept");
});

test("a single file is stored under the name of the release", async () => {
  const content = Buffer.from("a program");
  const { mirror } = await serve((_, response) => response.end(content));
  const { members: _, ...single } = artifactFor(content);
  const files = await obtainRelease(single, { mirror, setting }, () => {});
  assert.equal(files.thing?.sha256, digestOf(content, "sha256"));
});

test("a wrong checksum: nothing is unpacked, the file is deleted, both checksums are told", async () => {
  const content = await archive();
  const { mirror } = await serve((_, response) => response.end(Buffer.concat([content, Buffer.from("x")])));
  await assert.rejects(
    obtainRelease(artifactFor(content), { mirror, setting }, () => {}),
    new RegExp(`wrong checksum: got sha512 [0-9a-f]{128}, expected ${digestOf(content)}; the file was deleted`),
  );
  assert.deepEqual([await downloads(), await blobs()], [[], []]);
});

test("a checksum set by the user must hold beside the published one, also for what is in the cache", async () => {
  const content = await archive();
  const { mirror } = await serve((_, response) => response.end(content));
  await obtainRelease(artifactFor(content), { mirror, setting, pinned: digestOf(content, "sha256") }, () => {});
  await obtainRelease(artifactFor(content), { mirror, setting }, () => {});
  const wrong = "00".repeat(32);
  const refused = obtainRelease(artifactFor(content), { mirror, setting, pinned: wrong }, () => {});
  await assert.rejects(refused, new RegExp(`wrong checksum: got sha256 [0-9a-f]{64}, expected ${wrong}`));
});

test("without any checksum nothing is asked for, and the setting to pin one is named", async () => {
  const content = await archive();
  const { mirror, requests } = await serve((_, response) => response.end(content));
  const { checksum: _, ...unknown } = artifactFor(content);
  await assert.rejects(
    obtainRelease(unknown, { mirror, setting }, () => {}),
    new RegExp(`no checksum .* set ${setting} to its SHA-256`),
  );
  assert.deepEqual(requests, []);
});

test("a broken transfer is told with its numbers after three attempts, and the next run resumes it", async () => {
  const content = await archive();
  assert.ok(content.length > 300, "long enough to be cut");
  let cut = true;
  const { mirror, requests } = await serve((request, response) => {
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const rest = content.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, { "content-length": rest.length });
    if (!cut) return response.end(rest);
    response.write(rest.subarray(0, 100), () => setTimeout(() => response.destroy(), 50));
  });
  const { lines, log } = memory();
  await assert.rejects(
    obtainRelease(artifactFor(content), { mirror, setting }, log),
    new RegExp(`transfer broke off.*: got 300 bytes, expected ${content.length}; run again to resume`),
  );
  assert.equal(lines.filter((line) => line.endsWith("trying again")).length, 2);
  assert.deepEqual(await blobs(), []);
  cut = false;
  await obtainRelease(artifactFor(content), { mirror, setting }, log);
  const ranges = requests.map((line) => line.split(" ")[2]);
  assert.deepEqual(ranges, [undefined, "bytes=100-", "bytes=200-", "bytes=300-"]);
});

test("a server that cannot resume is read from the start", async () => {
  const content = await archive();
  let first = true;
  const { mirror, requests } = await serve((_, response) => {
    response.writeHead(200, { "content-length": content.length });
    if (!first) return response.end(content);
    first = false;
    response.write(content.subarray(0, 100), () => setTimeout(() => response.destroy(), 50));
  });
  await obtainRelease(artifactFor(content), { mirror, setting }, () => {});
  assert.equal(requests.length, 2);
});

test("a download that was complete but not yet verified is verified, not fetched again", async () => {
  const content = await archive();
  const { mirror, requests } = await serve((_, response) => response.writeHead(416).end());
  await fs.mkdir(join(cacheRoot(), "downloads"), { recursive: true });
  const part = `${digestOf(content).slice(0, 16)}-thing.tar.gz.part`;
  await fs.writeFile(join(cacheRoot(), "downloads", part), content);
  await obtainRelease(artifactFor(content), { mirror, setting }, () => {});
  assert.deepEqual(requests, [`GET /base/downloads.invalid/v1.2.3/thing.tar.gz bytes=${content.length}-`]);
});

test("a version that the server lacks is told at once, without further attempts", async () => {
  const { mirror, requests } = await serve((_, response) => response.writeHead(404).end("no"));
  await assert.rejects(
    obtainRelease(artifactFor(await archive()), { mirror, setting }, () => {}),
    /thing\.tar\.gz: got HTTP 404 Not Found, expected 200; check that the server has this version/,
  );
  assert.equal(requests.length, 1);
});

test("a server that does not listen is told as unreachable", async () => {
  const { mirror } = await serve(() => {});
  close();
  await assert.rejects(
    obtainRelease(artifactFor(await archive()), { mirror, setting }, () => {}),
    /cannot be reached \(.*ECONNREFUSED/,
  );
});

test("an archive without the expected program is refused", async () => {
  const content = await archive();
  const { mirror } = await serve((_, response) => response.end(content));
  const artifact = { ...artifactFor(content), members: { three: "bin/three" } };
  await assert.rejects(
    obtainRelease(artifact, { mirror, setting }, () => {}),
    /no bin\/three in the archive/,
  );
});

test("two at once download once", async () => {
  const content = await archive();
  const { mirror, requests } = await serve((_, response) => setTimeout(() => response.end(content), 100));
  const both = [1, 2].map(() => obtainRelease(artifactFor(content), { mirror, setting }, () => {}));
  const [one, two] = await Promise.all(both);
  assert.deepEqual(one, two);
  assert.equal(requests.length, 1);
});

test("settings of a mirror reach the download: a component with a checksum of the user's", async () => {
  const versions = Object.values(supportedVersions)[0];
  assert.ok(versions);
  await fs.writeFile(join(t.dir, "coredns"), "dns server");
  execFileSync("tar", ["-czf", join(t.dir, "c.tgz"), "-C", t.dir, "coredns"]);
  const content = await fs.readFile(join(t.dir, "c.tgz"));
  const { mirror, requests } = await serve((_, response) => response.end(content));
  const settings: BinarySettings = { source: "mirror", mirror, checksums: { coredns: digestOf(content, "sha256") } };
  const pins = pinsFor(["coredns", "coredns.tar"], versions, "arm64", settings);
  const files = await obtain(pins, settings, () => {});
  assert.equal(await fs.readFile(files.get("coredns")?.path ?? "", "utf8"), "dns server");
  assert.ok((files.get("coredns.tar")?.size ?? 0) > 0);
  const path = `/base/github.com/coredns/coredns/releases/download/v${versions.coredns}/coredns_${versions.coredns}_linux_arm64.tgz`;
  assert.deepEqual(requests, [`GET ${path}`]);
});

test("a server is probed once per run, its answer decides, and auto takes a mirror that has the releases", async () => {
  delete process.env.PLAINKUBE_OFFLINE;
  const up = await serve((request, response) => response.writeHead(request.url?.includes("missing") ? 404 : 200).end());
  assert.equal(await whyUnreachable(`${up.mirror}x`), undefined);
  assert.equal(await whyUnreachable(`${up.mirror}y`), undefined);
  assert.deepEqual(up.requests, ["HEAD /base/x"]);
  close();
  const other = await serve((_, response) => response.writeHead(404).end());
  assert.match((await whyUnreachable(`${other.mirror}missing`)) ?? "", /answers 404/);
  // The official hosts are not asked here: only what auto does with a mirror's answer is.
  process.env.PLAINKUBE_OFFLINE = "1";
  const refused = await resolveSource({ source: "auto", mirror: other.mirror }, () => {});
  assert.equal(refused.source, "modules");
});

test("a server that never answers costs three seconds", async () => {
  delete process.env.PLAINKUBE_OFFLINE;
  const { mirror } = await serve(() => {});
  const started = Date.now();
  assert.match((await whyUnreachable(`${mirror}x`)) ?? "", /does not answer/);
  const first = Date.now() - started;
  assert.ok(first > 2_500 && first < 4_500, `${first} ms`);
  await whyUnreachable(`${mirror}y`);
  assert.ok(Date.now() - started - first < 100, "and no more the second time");
});

test("a mirror holds each official address behind its own", () => {
  const url = "https://dl.k8s.io/v1/x.tar.gz";
  assert.equal(mirrored(url, undefined), url);
  assert.equal(mirrored(url, "http://m:8080/a/"), "http://m:8080/a/dl.k8s.io/v1/x.tar.gz");
});
