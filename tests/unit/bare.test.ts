import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { bareScript } from "../../components/host/bare.ts";

/** A script of this text as it would travel. */
async function bare(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "plainkube-bare-"));
  try {
    const path = join(folder, "script.sh");
    await writeFile(path, text);
    return bareScript(pathToFileURL(path));
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("a script travels without comments and empty lines, and is else the same", async () => {
  const text = '# shellcheck shell=bash\n\nset -e\n  # why\nif true; then # beside\n\n  echo "#1" "$#" <<<\'a\'\nfi\n';
  assert.equal(await bare(text), 'set -e\nif true; then # beside\n  echo "#1" "$#" <<<\'a\'\nfi');
});

test("a script with a here-document is refused", async () => {
  for (const line of ["cat <<EOF", "cat <<-'EOF' >file", 'cat << "EOF"']) {
    await assert.rejects(
      bare(`${line}\n# content\nEOF\n`),
      /has a here-document, whose lines may look like comments: cat <</,
    );
  }
});
