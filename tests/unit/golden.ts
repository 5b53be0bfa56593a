import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";

/** Compares files with those below tests/golden/‹folder›, byte for byte, both ways. `UPDATE_GOLDEN=1` writes them instead. */
export async function assertGolden(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  const root = join(import.meta.dirname, "../golden", folder);
  if (process.env.UPDATE_GOLDEN === "1") {
    await rm(root, { recursive: true, force: true });
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content);
    }
    return;
  }
  const hint = "if the change is meant, run the tests with UPDATE_GOLDEN=1 and review the diff";
  const there = (await readdir(root, { recursive: true, withFileTypes: true }))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  assert.deepEqual(there.sort(), Object.keys(files).sort(), `tests/golden/${folder} holds other files; ${hint}`);
  for (const [path, content] of Object.entries(files)) {
    const expected = await readFile(join(root, path), "utf8");
    assert.equal(content, expected, `tests/golden/${folder}/${path} differs; ${hint}`);
  }
}
