import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  blobPath,
  cacheRoot,
  ifLockFree,
  insertCopy,
  lookup,
  readRecord,
  requireFreeSpace,
  withLock,
  withScratch,
  writeRecord,
} from "../../toolchain/cache.ts";
import { memory, useTemporary } from "./temporary.ts";

const t = useTemporary();
const helloDigest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

async function hello(): Promise<string> {
  const path = join(t.dir, "hello");
  await fs.writeFile(path, "hello");
  return path;
}

test("a file is stored under its SHA-256 as an executable, and the source stays", async () => {
  const source = await hello();
  const stored = await insertCopy(source);
  assert.deepEqual(stored, { path: blobPath(helloDigest), sha256: helloDigest, size: 5 });
  assert.equal((await fs.stat(stored.path)).mode & 0o777, 0o755);
  assert.equal(await fs.readFile(source, "utf8"), "hello");
  assert.deepEqual(await lookup(stored), stored);
});

test("a blob whose content changed at equal size is found out and deleted", async () => {
  const stored = await insertCopy(await hello());
  await fs.writeFile(stored.path, "jello");
  assert.equal(await lookup(stored), undefined);
  await assert.rejects(fs.stat(stored.path), { code: "ENOENT" });
});

test("a truncated blob is found out and deleted, even with the time of a verified one", async () => {
  const stored = await insertCopy(await hello());
  const { mtime } = await fs.stat(stored.path);
  await fs.truncate(stored.path, 4);
  await fs.utimes(stored.path, mtime, mtime);
  assert.equal(await lookup(stored), undefined);
  await assert.rejects(fs.stat(stored.path), { code: "ENOENT" });
});

test("a blob that only lost its time is hashed and kept", async () => {
  const stored = await insertCopy(await hello());
  await fs.utimes(stored.path, new Date(), new Date());
  assert.deepEqual(await lookup(stored), stored);
});

test("inserting the same content twenty times at once gives one whole blob and leaves nothing else", async () => {
  const source = await hello();
  const stored = await Promise.all(Array.from({ length: 20 }, () => insertCopy(source)));
  assert.deepEqual(new Set(stored.map((one) => one.sha256)), new Set([helloDigest]));
  assert.deepEqual(await fs.readdir(join(cacheRoot(), "blobs")), [helloDigest]);
  assert.deepEqual(await fs.readdir(join(cacheRoot(), "tmp")), []);
});

test("a record gives its files, and nothing once a file is gone or the record is torn", async () => {
  const stored = await insertCopy(await hello());
  assert.equal(await readRecord("key"), undefined);
  await writeRecord("key", { hello: stored }, { go: "1.26" });
  assert.deepEqual(await readRecord("key"), { hello: stored });
  await fs.rm(stored.path);
  assert.equal(await readRecord("key"), undefined);
  const [name = ""] = await fs.readdir(join(cacheRoot(), "recipes"));
  await fs.writeFile(join(cacheRoot(), "recipes", name), '{"outputs":');
  assert.equal(await readRecord("key"), undefined);
});

test("the cache may be deleted between two uses", async () => {
  await insertCopy(await hello());
  await fs.rm(cacheRoot(), { recursive: true });
  assert.equal((await insertCopy(await hello())).sha256, helloDigest);
});

test("processes that share a lock never run at once", async () => {
  const counter = join(t.dir, "counter");
  await fs.writeFile(counter, "0");
  const script = join(t.dir, "count.mjs");
  await fs.writeFile(
    script,
    `import { readFile, writeFile } from "node:fs/promises";
     import { setTimeout } from "node:timers/promises";
     const { withLock } = await import(${JSON.stringify(join(import.meta.dirname, "../../toolchain/cache.ts"))});
     for (let i = 0; i < 10; i++) await withLock("counter", () => {}, async () => {
       const value = Number(await readFile(${JSON.stringify(counter)}, "utf8"));
       await setTimeout(2);
       await writeFile(${JSON.stringify(counter)}, String(value + 1));
     });`,
  );
  const codes = await Promise.all(
    [1, 2, 3].map(async () => (await once(spawn(process.execPath, [script], { stdio: "inherit" }), "close"))[0]),
  );
  assert.deepEqual(codes, [0, 0, 0]);
  assert.equal(await fs.readFile(counter, "utf8"), "30");
});

async function leaveLock(content: string): Promise<void> {
  await fs.mkdir(join(cacheRoot(), "locks"), { recursive: true });
  await fs.writeFile(join(cacheRoot(), "locks", "busy"), content);
}

test("the lock of a dead process, and of one whose id went to another, is taken over", async () => {
  const child = spawn("true");
  await once(child, "close");
  for (const owner of [`${child.pid}-12345-aa`, `${process.pid}-1-aa`, ""]) {
    await leaveLock(owner);
    assert.equal(
      await withLock(
        "busy",
        () => {},
        async () => "mine",
        { timeout: 5_000 },
      ),
      "mine",
    );
  }
  assert.deepEqual(await fs.readdir(join(cacheRoot(), "locks")), []);
});

test("the lock of a running process is waited for, reported, and given up on after the time-out", async () => {
  const { lines, log } = memory();
  await withLock("busy", log, async () => {
    await assert.rejects(
      withLock("busy", log, async () => assert.fail("both hold the lock"), { timeout: 400, progressEvery: 100 }),
      new RegExp(`process ${process.pid}.*still holds the lock .*expected it to finish; wait for it or end it`),
    );
    await ifLockFree("busy", async () => assert.fail("both hold the lock"));
  });
  assert.match(lines[0] ?? "", new RegExp(`waiting for another run \\(process ${process.pid}\\) to finish busy`));
  let free = false;
  await ifLockFree("busy", async () => {
    free = true;
  });
  assert.equal(free, true);
});

test("a lock is released when its work fails", async () => {
  const failing = withLock(
    "busy",
    () => {},
    async () => Promise.reject(new Error("no")),
  );
  await assert.rejects(failing, /^Error: no$/);
  assert.equal(
    await withLock(
      "busy",
      () => {},
      async () => 1,
      { timeout: 200 },
    ),
    1,
  );
});

test("scratch folders are removed: one's own at the end, a killed run's by the next run, a running one's not", async () => {
  const parent = join(cacheRoot(), "tmp");
  const child = spawn("true");
  await once(child, "close");
  await fs.mkdir(join(parent, `${child.pid}-12345-aaaaaa`), { recursive: true });
  await withScratch(async (outer) => {
    await withScratch(async (inner) => {
      assert.deepEqual(new Set((await fs.readdir(parent)).map((name) => join(parent, name))), new Set([outer, inner]));
    });
  });
  assert.deepEqual(await fs.readdir(parent), []);
});

test("too little disk is told with the numbers and the remedy", async () => {
  await requireFreeSpace(1, "building x");
  await assert.rejects(
    requireFreeSpace(2 ** 60, "building x"),
    /building x: not enough disk space .* got [\d.]+ GiB free, expected 1073741824\.0 GiB; free some space, or set PLAINKUBE_CACHE/,
  );
});
