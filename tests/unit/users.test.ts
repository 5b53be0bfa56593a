/**
 * Certificate requests of users, as OpenSSL reads and signs them, and the proof of their rights, against a server on this
 * machine that knows its clients by their certificates; no API server is involved.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { certificateRequest } from "../../components/pki/request.ts";
import { renderUserProbe } from "../../components/users/render.ts";
import { customConfig, directory, exampleConfig, specOf } from "./clusters.ts";

const at = (name: string): string => join(directory, name);

function openssl(args: readonly string[], input = ""): string {
  const { status, stdout, stderr } = spawnSync("openssl", args, { input, encoding: "utf8" });
  assert.equal(status, 0, `openssl ${args.join(" ")}: ${stderr}`);
  return stdout;
}

const newKey = (): string =>
  generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs1", format: "pem" }).toString();

test("a request holds the name and every group, and is the same each time", () => {
  const key = newKey();
  for (const organizations of [["one"], ["team:a", "b"], Array.from({ length: 20 }, (_, i) => `${i}`.repeat(32))]) {
    const request = certificateRequest(key, { commonName: "jane@example.com", organizations });
    assert.equal(certificateRequest(key, { commonName: "jane@example.com", organizations }), request);
    const shown = openssl(["req", "-verify", "-noout", "-subject", "-nameopt", "multiline,-align"], request);
    const expected = [...organizations.map((o) => `organizationName = ${o}`), "commonName = jane@example.com"];
    assert.deepEqual(shown.trim().split(/\n */).slice(1), expected);
  }
});

test("a request is not signed with a key whose signatures differ each time", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  assert.throws(
    () => certificateRequest(pem, { commonName: "jane", organizations: ["a"] }),
    /certificate request of jane: got a key of type ec, expected rsa/,
  );
});

/** An authority for the server and its clients. */
const extensions = "[v3]\nbasicConstraints=critical,CA:TRUE\n[server]\nsubjectAltName=IP:127.0.0.1\n";
writeFileSync(at("extensions"), `[req]\ndistinguished_name=dn\n[dn]\n${extensions}`);
writeFileSync(at("ca.key"), newKey());
openssl([
  ...["req", "-x509", "-new", "-key", at("ca.key"), "-out", at("ca.crt"), "-subj", "/CN=ca", "-days", "1"],
  ...["-config", at("extensions"), "-extensions", "v3"],
]);

function issue(name: string, ...more: string[]): { name: string; cert: string; key: string } {
  const key = newKey();
  const request = certificateRequest(key, { commonName: name, organizations: ["a", "b"] });
  const sign = ["x509", "-req", "-CA", at("ca.crt"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "1", ...more];
  return { name, cert: openssl(sign, request), key };
}

const spec = specOf(exampleConfig("api-only"));
const server = issue("server", "-extfile", at("extensions"), "-extensions", "server");
const admin = issue("kubernetes-admin");
const users = spec.users.map(({ name }) => issue(name));

interface Behaviour {
  /** Whether a user may do what the path asks for. */
  readonly may?: (user: string, path: string) => boolean;
  /** What the server does, if not what it says. */
  readonly does?: (user: string | undefined, path: string) => number | undefined;
  readonly roles?: readonly string[];
}

/** Runs the probe against a server that behaves like this. */
async function probed(behaviour: Behaviour, seconds = 1) {
  const {
    may = () => true,
    does = () => undefined,
    roles = ["view", "edit"].map((r) => `system:aggregate-to-${r}`),
  } = behaviour;
  const options = { cert: server.cert, key: server.key, ca: readFileSync(at("ca.crt")), requestCert: true };
  const https = createServer({ ...options, rejectUnauthorized: false }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const socket = request.socket as TLSSocket;
    const user = socket.authorized ? String(socket.getPeerCertificate().subject.CN) : undefined;
    const path = (request.url ?? "").split("?")[0] ?? "";
    const answer = (): [number, object] => {
      if (user === undefined) return [401, {}];
      if (path.endsWith("/subjectaccessreviews")) {
        if (user !== admin.name) return [403, {}];
        const { spec: asked } = JSON.parse(Buffer.concat(chunks).toString());
        const { group, namespace, resource } = asked.resourceAttributes;
        const root = group ? `/apis/${group}/v1` : "/api/v1";
        const wanted = `${root}${namespace ? `/namespaces/${namespace}` : ""}/${resource}`;
        return [201, { status: { allowed: may(asked.user, wanted) } }];
      }
      if (path.includes("/clusterroles/")) return [roles.includes(path.split("/").at(-1) ?? "") ? 200 : 404, {}];
      return [user === admin.name || may(user, path) ? 200 : 403, {}];
    };
    const [status, body] = answer();
    response.statusCode = does(user, path) ?? status;
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => https.listen(0, "127.0.0.1", resolve));
  try {
    const address = https.address();
    assert.ok(address && typeof address === "object");
    const script = renderUserProbe(spec, admin, users)
      .replace("\napi=https://127.0.0.1:6443\n", `\napi=https://127.0.0.1:${address.port}\n`)
      .replace("\nca=/etc/plainkube/pki/ca.crt\n", `\nca=${at("ca.crt")}\n`)
      .replace("\nseconds=60\n", `\nseconds=${seconds}\n`);
    const child = spawn("bash", ["-s"], { timeout: 30_000 });
    const text = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].on("data", (chunk) => {
        text[stream] += chunk;
      });
    }
    child.stdin.end(script);
    const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
    return { status, ...text };
  } finally {
    https.closeAllConnections();
    https.close();
  }
}

test("the proof says what each user was answered", async () => {
  const may = (user: string, path: string) => user !== "viewer" || path === "/api/v1/namespaces/default/pods";
  assert.deepEqual(await probed({ may }, 30), {
    status: 0,
    stdout: [
      "kubernetes-admin: list namespaces: allowed (200)",
      "anonymous: list namespaces: refused (401)",
      "viewer: list pods in default: allowed (200)",
      "viewer: list secrets in default: refused (403)",
      "viewer: list roles in default: refused (403)",
      "viewer: list namespaces: refused (403)",
      ...["pods in default", "secrets in default", "roles in default", "namespaces"].map(
        (what) => `editor@example.com: list ${what}: allowed (200)`,
      ),
      "",
    ].join("\n"),
    stderr: "",
  });
});

test("the proof waits for rights that are on their way", async () => {
  let asked = 0;
  const does = (user: string | undefined, path: string) =>
    user === "viewer" && path.endsWith("/pods") && asked++ < 2 ? 403 : undefined;
  assert.equal((await probed({ does }, 30)).status, 0);
  assert.equal(asked, 3);
});

const failures: Record<string, readonly [Behaviour, RegExp]> = {
  "a user is let in against the review": [
    { may: () => false, does: (user, path) => (user === "viewer" && path.endsWith("/secrets") ? 200 : undefined) },
    /answers viewer who wants to list secrets in default: allowed; expected what its review says .*: refused;/,
  ],
  "a user's certificate is not taken": [
    { does: (user) => (user === "viewer" ? 401 : undefined) },
    /answers viewer who wants to list pods in default: status 401; expected .*: allowed;/,
  ],
  "the administrator is not let in": [
    { does: (user) => (user === admin.name ? 401 : undefined) },
    /the API server answers the administrator with 401; expected 200/,
  ],
  "anyone is let in": [
    { does: (user) => (user === undefined ? 200 : undefined) },
    /the API server answers anonymous requests with 200; expected 401 or 403/,
  ],
  "roles are not there": [
    { roles: [] },
    /plainkube:users binds ClusterRoles that are not there: system:aggregate-to-view system:aggregate-to-edit;/,
  ],
};
for (const [name, [behaviour, message]] of Object.entries(failures)) {
  test(`the proof fails when ${name}`, async () => {
    const { status, stderr } = await probed(behaviour);
    assert.equal(status, 1);
    assert.match(stderr, message);
  });
}

test("in a whole cluster the roles are bound as they are named", () => {
  const custom = specOf(customConfig());
  const script = renderUserProbe(custom, admin, []);
  assert.deepEqual(
    [...script.matchAll(/^role (.*)$/gm)].map(([, role]) => role),
    ["admin", "view"],
  );
});
