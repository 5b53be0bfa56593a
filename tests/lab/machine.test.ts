import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseDeb822, parseOneLine, readAptSource } from "../../lab/machine.ts";

const MIRROR = "http://mirror.example/debian";

test("deb822 sources: suites, components and key ring of each enabled stanza", () => {
  const text = `Types: deb deb-src
# a comment
URIs: ${MIRROR}
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/some.gpg

Types: deb
URIs: http://other.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb
URIs: http://inline.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQIN
 -----END PGP PUBLIC KEY BLOCK-----
`;
  assert.deepEqual(parseDeb822(text), [
    {
      uri: MIRROR,
      suites: ["trixie", "trixie-updates"],
      components: ["main", "contrib"],
      keyring: "/usr/share/keyrings/some.gpg",
    },
    { uri: "http://inline.example/debian", suites: ["trixie"], components: ["main"], keyring: undefined },
  ]);
});

test("one-line sources: options, comments and deb-src", () => {
  const text = `# deb http://off.example/debian trixie main
deb-src ${MIRROR} trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/some.gpg] ${MIRROR} trixie main contrib # own mirror
deb ${MIRROR} trixie-updates main
`;
  assert.deepEqual(parseOneLine(text), [
    { uri: MIRROR, suites: ["trixie"], components: ["main", "contrib"], keyring: "/usr/share/keyrings/some.gpg" },
    { uri: MIRROR, suites: ["trixie-updates"], components: ["main"], keyring: undefined },
  ]);
});

test("the machine's own release is taken from the first source that offers it, and its lack is an error", async () => {
  const root = await mkdtemp(join(tmpdir(), "plainkube-apt-"));
  try {
    await mkdir(join(root, "apt/sources.list.d"), { recursive: true });
    await writeFile(join(root, "os-release"), 'ID=debian\nVERSION_CODENAME="trixie"\n');
    await writeFile(join(root, "apt/sources.list"), "deb http://tools.example/apt stable main\n");
    await assert.rejects(readAptSource(root), /no apt source .* suite trixie.*apt\/sources\.list/);
    await writeFile(
      join(root, "apt/sources.list.d/debian.sources"),
      `Types: deb\nURIs: ${MIRROR}\nSuites: trixie\nComponents: main\n`,
    );
    assert.deepEqual(await readAptSource(root), {
      mirror: MIRROR,
      suite: "trixie",
      components: ["main"],
      keyring: undefined,
    });
  } finally {
    await rm(root, { recursive: true });
  }
});
