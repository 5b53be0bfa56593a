import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/**
 * Serves a folder of images as a registry does to those who pull (OCI distribution specification: manifests and blobs),
 * as long as its standard input is open. Arguments: the folder, address, port. The folder holds `blobs/sha256/…` and `manifests.json`.
 */
const [directory = "", address = "", port = ""] = process.argv.slice(2);

/** Repository and tag, or repository and digest, to digest and media type. */
type Manifests = Readonly<Record<string, { readonly digest: string; readonly mediaType: string }>>;

const manifests: Manifests = JSON.parse(await readFile(join(directory, "manifests.json"), "utf8"));

async function answer({ method, url = "" }: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(url, "http://registry");
  const [, repository, kind, reference = ""] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? [];
  const manifest = kind === "manifests" ? manifests[`${repository} ${reference}`] : undefined;
  const digest = kind === "blobs" ? reference : manifest?.digest;
  const hash = /^sha256:([0-9a-f]{64})$/.exec(digest ?? "")?.[1];
  const file = join(directory, "blobs/sha256", hash ?? "none");
  const size = await stat(file).then(
    (found) => found.size,
    () => undefined,
  );
  if (size === undefined) {
    response.writeHead(pathname === "/v2/" ? 200 : 404).end();
    return;
  }
  response.writeHead(200, {
    "Content-Length": size,
    "Content-Type": manifest?.mediaType ?? "application/octet-stream",
    "Docker-Content-Digest": digest,
  });
  if (method === "HEAD") response.end();
  else
    createReadStream(file)
      .on("error", () => response.destroy())
      .pipe(response);
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.writeHead(500).end());
});
server.listen(Number(port), address, () => console.log(`listening on port ${(server.address() as AddressInfo).port}`));
// So that it does not outlive the run, however that ends.
process.stdin.resume().on("close", () => process.exit());
