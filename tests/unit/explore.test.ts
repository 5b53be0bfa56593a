import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingHttpHeaders, request } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { parse } from "yaml";
import { type ApiAnswer, ApiServer, apiRequest, masked, openApiDocuments, readKubeconfig } from "../../explore/api.ts";
import { EtcdReader } from "../../explore/etcd.ts";
import { behind, listKeys, problemWithKey, type ReadKeys } from "../../explore/keys.ts";
import { maskSecrets } from "../../explore/mask.ts";
import { explorer } from "../../explore/server.ts";
import { encodingOf, hexDump, programDecoder, type StoredValue, viewOf } from "../../explore/stored.ts";

// Nobody gets as far as comparing it.
const hostKey = "ssh-ed25519 AAAA";

/** Keys as etcd gives them: in order, from `start` to before `end`. */
function storeOf(keys: readonly string[]): { read: ReadKeys; reads: () => number } {
  const sorted = [...keys].sort();
  let reads = 0;
  const read: ReadKeys = async (start, end, limit) => {
    reads++;
    const range = sorted.filter((key) => key >= start && key < end);
    return { keys: range.slice(0, limit), more: range.length > limit, revision: 7 };
  };
  return { read, reads: () => reads };
}

const many = (folder: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${folder}${String(i).padStart(5, "0")}`);

describe("a level of keys", () => {
  const store = storeOf([
    ...many("/registry/events/default/e", 2500),
    ...many("/registry/pods/default/p", 3),
    ...many("/registry/pods/kube-system/p", 2),
    "/registry/ranges/serviceips",
    "/registry/zz",
  ]);
  const brief = async (...args: [string, string?, number?]) => {
    const { entries, next } = await listKeys(store.read, ...args);
    return { names: entries.map(({ name, keys, more }) => `${name} ${keys}${more ? "+" : ""}`), next };
  };

  test("shows folders with what they hold, and jumps over a large one", async () => {
    const earlier = store.reads();
    assert.deepEqual(await brief("/registry/"), {
      names: ["events/ 1000+", "pods/ 5", "ranges/ 1", "zz 1"],
      next: undefined,
    });
    assert.equal(store.reads() - earlier, 2);
  });

  test("goes on where the last page ended", async () => {
    const first = await brief("/registry/", undefined, 2);
    assert.deepEqual(first, { names: ["events/ 1000+", "pods/ 5"], next: "/registry/ranges/serviceips" });
    assert.deepEqual(await brief("/registry/", first.next, 2), { names: ["ranges/ 1", "zz 1"], next: undefined });

    const seen: string[] = [];
    for (let from: string | undefined, page = 0; page < 20; page++) {
      const { entries, next } = await listKeys(store.read, "/registry/events/default/", from);
      seen.push(...entries.map(({ path }) => path));
      from = next;
      if (!next) break;
    }
    assert.deepEqual(seen, many("/registry/events/default/e", 2500));
  });

  test("goes on behind a key that ends a read", async () => {
    const { entries } = await listKeys(storeOf(many("/registry/a", 2345)).read, "/registry/", undefined, 5000);
    assert.equal(entries.length, 2345);
  });

  test("keeps to what begins with a text", async () => {
    assert.deepEqual((await brief("/registry/pods/kube")).names, ["kube-system/ 2"]);
    assert.deepEqual((await brief("/registry/pods/default/p0000")).names, ["p00000 1", "p00001 1", "p00002 1"]);
    assert.deepEqual((await brief("/registry/potato")).names, []);
  });

  test("ends its range behind the last key that begins with the text", () => {
    assert.equal(behind("/registry/"), "/registry0");
    assert.equal(behind("/registry/pods/é"), "/registry/pods/ê");
  });

  test("lies below /registry/", () => {
    assert.equal(problemWithKey("/registry/clusterroles/system:node é"), undefined);
    for (const key of ["", "/", "/registry", "registry/pods", "/other/", "/registry/a\nvalue", "/registry/a\0"]) {
      assert.match(problemWithKey(key) ?? "", /^key: got ".*, expected one below \/registry\//, key);
    }
  });
});

const secret = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: {
    name: "door",
    annotations: { "kubectl.kubernetes.io/last-applied-configuration": '{"data":{"code":"MTIzNA=="}}', other: "kept" },
  },
  data: { code: "MTIzNA==" },
  stringData: { plain: "1234é" },
};
const maskedSecret = {
  ...secret,
  metadata: {
    name: "door",
    annotations: { "kubectl.kubernetes.io/last-applied-configuration": "(hidden)", other: "kept" },
  },
  data: { code: "(hidden: 4 bytes)" },
  stringData: { plain: "(hidden: 6 bytes)" },
};

describe("Secrets", () => {
  test("lose their values, alone and in lists", () => {
    assert.deepEqual(maskSecrets(secret), maskedSecret);
    const { apiVersion, kind, ...item } = secret;
    const list = { apiVersion: "v1", kind: "SecretList", items: [item] };
    const { apiVersion: _, kind: __, ...maskedItem } = maskedSecret;
    assert.deepEqual(maskSecrets(list), { ...list, items: [maskedItem] });
    const mixed = { apiVersion: "v1", kind: "List", items: [secret, { apiVersion: "v1", kind: "Pod" }] };
    assert.deepEqual(maskSecrets(mixed), { ...mixed, items: [maskedSecret, mixed.items[1]] });
  });

  test("are the core ones: others stay as they are", () => {
    for (const object of [
      { apiVersion: "v1", kind: "ConfigMap", data: { code: "1234" } },
      { apiVersion: "vault.example.com/v1", kind: "Secret", data: { path: "a/b" } },
      ["Secret"],
      null,
    ]) {
      assert.equal(maskSecrets(object), object);
    }
  });

  test("lose them in the API server's answers too", () => {
    const answer = (value: unknown, type = "application/json"): ApiAnswer => ({
      status: 200,
      type,
      body: Buffer.from(JSON.stringify(value)),
    });
    assert.deepEqual(JSON.parse(masked(answer(secret)).body.toString()), maskedSecret);
    const pod = answer({ apiVersion: "v1", kind: "Pod", note: "Secret" });
    assert.equal(masked(pod), pod);
  });
});

describe("a stored value", () => {
  const fail = () => Promise.reject(new Error("no decoder here"));
  const stored = (key: string, value: string | Buffer): StoredValue => ({
    key,
    value: Buffer.from(value),
    createRevision: 5,
    modRevision: 9,
    version: 2,
    lease: "1f",
  });

  test("in protobuf is decoded and shown as YAML with what etcd knows of it", async () => {
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "a", labels: { on: "yes" } } };
    const { yaml, ...view } = await viewOf(stored("/registry/pods/default/a", "k8s\0rest"), async () => pod, false);
    assert.deepEqual(parse(yaml ?? ""), pod);
    assert.deepEqual(view, {
      key: "/registry/pods/default/a",
      createRevision: 5,
      modRevision: 9,
      version: 2,
      lease: "1f",
      encoding: "protobuf",
      size: 8,
      apiVersion: "v1",
      kind: "Pod",
      note: undefined,
      isMasked: false,
    });
  });

  test("that cannot be decoded says why", async () => {
    const view = await viewOf(stored("/registry/pods/default/a", "k8s\0rest"), fail, false);
    assert.deepEqual([view.yaml, view.note], [undefined, "Not decoded: no decoder here"]);
    const broken = await viewOf(stored("/registry/example.com/potatoes/a", '{"kind":'), fail, false);
    assert.match(broken.note ?? "", /^Begins like JSON, and is none: /);
  });

  test("in JSON needs no decoder", async () => {
    const view = await viewOf(
      stored("/registry/example.com/potatoes/a", '{"kind":"Potato","spec":{"eyes":1}}'),
      fail,
      false,
    );
    assert.deepEqual([view.encoding, view.kind, view.yaml], ["json", "Potato", "kind: Potato\nspec:\n  eyes: 1\n"]);
  });

  test("that is encrypted names its provider and key, and is not decoded", async () => {
    const value = "k8s:enc:aescbc:v1:key1:\x01\x02";
    const view = await viewOf(stored("/registry/secrets/default/door", value), fail, false);
    assert.equal(view.encoding, "encrypted");
    assert.equal(view.note, "Encrypted at rest by aescbc v1, key key1: only the API server can read it.");
    assert.deepEqual([view.yaml, view.isMasked], [undefined, false]);
  });

  test("of a Secret is masked unless asked for, whether it can be decoded or not", async () => {
    const door = stored("/registry/secrets/default/door", "k8s\0rest");
    const view = await viewOf(door, async () => secret, false);
    assert.deepEqual([parse(view.yaml ?? ""), view.isMasked], [maskedSecret, true]);
    const shown = await viewOf(door, async () => secret, true);
    assert.deepEqual([parse(shown.yaml ?? ""), shown.isMasked], [secret, false]);
    assert.equal((await viewOf(door, fail, false)).isMasked, true);
  });

  test("is told apart by how it begins", () => {
    const kinds = ["k8s\0x", "k8s:enc:kms:v2:a:", '{"a":1}', "plain", ""].map((value) =>
      encodingOf(Buffer.from(value)),
    );
    assert.deepEqual(kinds, ["protobuf", "encrypted", "json", "other", "other"]);
  });

  test("shows its bytes as hexdump does", () => {
    assert.equal(
      hexDump(Buffer.from("k8s\0\n\x0f\n\x02v1\x12\x09ConfigMap"), 32),
      [
        "00000020  6b 38 73 00 0a 0f 0a 02  76 31 12 09 43 6f 6e 66  |k8s.....v1..Conf|",
        "00000030  69 67 4d 61 70                                    |igMap|",
      ].join("\n"),
    );
  });

  test("that the decoder refuses brings the decoder's own words", async () => {
    const decode = programDecoder(async () => "/bin/false");
    await assert.rejects(decode(Buffer.alloc(1 << 20)), /the decoder ended with 1, expected 0/);
  });
});

describe("a request to the API server", () => {
  const of = (path: string) => apiRequest(new URL(path, "http://127.0.0.1"));

  test("is passed on as it was checked", () => {
    for (const path of [
      "/api/v1/namespaces/default/pods?limit=5&watch=false",
      "/api/v1/namespaces/default/pods/a/log?follow=false",
      "/api/v1/namespaces/proxy/pods/exec/status",
      "/api/v1/nodes/watch",
      "/apis/apps/v1/",
      "/openapi/v3/api/v1?hash=AB%2F",
    ]) {
      assert.equal(of(path), path);
    }
    assert.equal(
      of("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"),
      "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
    );
  });

  test("is refused where a GET does more than read, or never ends", () => {
    const refused: [string, string][] = [
      ["/api/v1/namespaces/default/pods/a/exec?command=id", "the subresource exec"],
      ["/api/v1/namespaces/default/pods/a/%65xec?command=id", "the subresource exec"],
      ["/api/v1/namespaces/default/pods/a/attach", "the subresource attach"],
      ["/api/v1/namespaces/default/pods/a/portforward", "the subresource portforward"],
      ["/api/v1/namespaces/default/services/a/proxy/drop", "the subresource proxy"],
      ["/api/v1/nodes/node1/proxy/run/default/a/b", "the subresource proxy"],
      ["/api/v1/proxy/nodes/node1", "/proxy/"],
      ["/api/v1/watch/pods", "/watch/"],
      ["/apis/apps/v1/watch/deployments", "/watch/"],
      ["/api/v1/pods?watch=1", "watch=1"],
      ["/api/v1/pods?watch=false&watch=true", "watch=true"],
      ["/api/v1/namespaces/default/pods/a/log?follow=true", "follow=true"],
    ];
    for (const [path, what] of refused) {
      assert.deepEqual(of(path), { status: 403, message: `${what} is not passed on; this page only reads` }, path);
    }
    for (const path of ["/api/v1/namespaces/default/pods/a%2Fexec", "/api/v1//pods", "/api/%ff", "/api/v1/a%5Cb"]) {
      const answer = of(path);
      assert.ok(typeof answer !== "string" && answer.status === 400, `${path}: ${JSON.stringify(answer)}`);
    }
  });

  test("uses the user and the cluster of the kubeconfig's context", () => {
    const base64 = (value: string) => Buffer.from(value).toString("base64");
    const config = {
      "current-context": "b",
      contexts: [
        { name: "a", context: { cluster: "x", user: "x" } },
        { name: "b", context: { cluster: "y", user: "z" } },
      ],
      clusters: [
        { name: "y", cluster: { server: "https://10.90.23.41:6443", "certificate-authority-data": base64("CA") } },
      ],
      users: [
        { name: "x", user: {} },
        { name: "z", user: { "client-certificate-data": base64("CERT"), "client-key-data": base64("KEY") } },
      ],
    };
    const read = readKubeconfig(JSON.stringify(config));
    assert.deepEqual(read, { server: "https://10.90.23.41:6443", ca: "CA", cert: "CERT", key: "KEY" });
    assert.throws(
      () => readKubeconfig(JSON.stringify({ ...config, "current-context": "a" })),
      /has no certificate-authority-data/,
    );
  });
});

describe("what does not answer", () => {
  test("is named with its address: the host", async () => {
    const reader = new EtcdReader({
      host: "node1",
      target: {
        endpoint: { host: "127.0.0.1", port: 1, user: "ops", hostKey },
        dialAttempts: 1,
        dialTimeoutSeconds: 5,
      },
      password: "",
      etcdctl: async () => ({ path: "/dev/null", sha256: "", size: 0 }),
    });
    // Each request tries anew.
    for (let i = 0; i < 2; i++) {
      const refused = /^Error: etcd cannot be read on node1 \(ops@127\.0\.0\.1:1\): .*Connection refused; expected /;
      await assert.rejects(reader.value("/registry/a"), refused);
    }
    await reader.close();
  });

  test("is named with its address: the API server", async () => {
    const api = new ApiServer({ server: "https://127.0.0.1:1", ca: "", cert: "", key: "" });
    await assert.rejects(
      api.get("/version"),
      /^Error: the API server at https:\/\/127\.0\.0\.1:1 does not answer: connect ECONNREFUSED/,
    );
    api.close();
  });
});

describe("the page's server", () => {
  const asked: string[] = [];
  const open = {
    "api/v1": "/openapi/v3/api/v1?hash=A",
    "apis/apps/v1": "/openapi/v3/apis/apps/v1?hash=B",
    api: "/openapi/v3/api?hash=C",
  };
  const answers: Record<string, unknown> = {
    "/version": { gitVersion: "v1.36.3" },
    "/openapi/v3": {
      paths: Object.fromEntries(Object.entries(open).map(([name, serverRelativeURL]) => [name, { serverRelativeURL }])),
    },
    "/api/v1/namespaces/default/secrets/door": secret,
  };
  const api = {
    get: async (path: string) => {
      asked.push(path);
      if (!(path in answers)) throw new Error("the API server does not answer");
      return { status: 200, type: "application/json", body: Buffer.from(JSON.stringify(answers[path])) };
    },
  };
  const values: Record<string, Buffer> = {
    "/registry/secrets/default/door": Buffer.from(JSON.stringify(secret)),
    "/registry/configmaps/default/long": Buffer.alloc(5000, "x"),
  };
  const etcd = {
    status: () => Promise.reject(new Error("etcd is gone")),
    list: (prefix: string, from?: string) => listKeys(storeOf(Object.keys(values)).read, prefix, from),
    value: async (key: string) => {
      const value = values[key];
      return value && { key, value, createRevision: 1, modRevision: 1, version: 1, lease: undefined };
    },
  };
  const server = explorer({
    ...{ stack: "dev", apiEndpoint: "https://10.90.23.41:6443", api, etcd },
    ...{ decode: () => Promise.reject(new Error("none")), showSecrets: false },
  });
  let port = 0;

  before(async () => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    port = (server.address() as AddressInfo).port;
  });
  after(() => server.close());

  async function ask(path: string, options: { method?: string; headers?: Record<string, string> } = {}) {
    // `agent: false`: an upgrade must not spoil a connection for the next.
    const sent = request({ host: "127.0.0.1", port, path, agent: false, ...options });
    sent.end();
    const [response] = await once(sent, "response");
    const { statusCode, headers } = response as { statusCode: number; headers: IncomingHttpHeaders };
    return { status: statusCode, headers, body: await text(response) };
  }

  test("refuses every method but GET, and asks nobody then", async () => {
    asked.length = 0;
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]) {
      for (const path of ["/api/v1/namespaces/default/pods", "/explore/keys", "/"]) {
        const { status, headers } = await ask(path, { method });
        assert.deepEqual([status, headers.allow], [405, "GET"], `${method} ${path}`);
      }
    }
    assert.deepEqual(asked, []);
  });

  test("refuses other names of this machine, other sites, and upgrades", async () => {
    asked.length = 0;
    const path = "/api/v1/namespaces/default/secrets/door";
    for (const host of ["evil.example.com", `evil.example.com:${port}`, "127.0.0.1", "127.0.0.1:1", `[::1]:${port}`]) {
      assert.equal((await ask(path, { headers: { Host: host } })).status, 421, host);
    }
    for (const from of ["cross-site", "same-site"]) {
      assert.equal((await ask(path, { headers: { "Sec-Fetch-Site": from } })).status, 403, from);
    }
    const upgrade = { Connection: "Upgrade", Upgrade: "websocket" };
    assert.equal((await ask(path, { headers: upgrade })).status, 403);
    assert.deepEqual(asked, []);
    const own = { Host: `localhost:${port}`, "Sec-Fetch-Site": "same-origin" };
    assert.equal((await ask(path, { headers: own })).status, 200);
  });

  test("passes on a GET, without the values of Secrets", async () => {
    const { status, headers, body } = await ask("/api/v1/namespaces/default/secrets/door");
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(body), maskedSecret);
    assert.equal(headers["content-security-policy"], "default-src 'none'; sandbox");
    assert.equal(headers["access-control-allow-origin"], undefined);
    assert.equal((await ask("/api/v1/nodes/a/proxy/")).status, 403);
  });

  test("serves its pages, which load nothing from elsewhere", async () => {
    for (const path of ["/", "/etcd"]) {
      const { status, headers, body } = await ask(path);
      assert.equal(status, 200);
      assert.match(String(headers["content-security-policy"]), /^default-src 'none'; script-src 'self';/);
      const links = [...body.matchAll(/(?:src|href)="([^"]+)"/g)].map((found) => found[1] ?? "");
      assert.ok(links.length > 4);
      for (const link of links) assert.equal((await ask(link)).status, 200, link);
    }
    for (const path of ["/page/../main.ts", "/page/%2e%2e/main.ts", "/swagger-ui/package.json", "/main.ts"]) {
      assert.equal((await ask(path)).status, 404, path);
    }
  });

  test("lists OpenAPI documents, the core first and OpenAPI 2 last", async () => {
    const names = JSON.parse((await ask("/explore/documents")).body).map(({ name }: { name: string }) => name);
    assert.deepEqual(names, ["api/v1", "apis/apps/v1", "api", "all, as OpenAPI 2"]);
    const down = { get: async () => ({ status: 503, type: "text/plain", body: Buffer.from("starting") }) };
    await assert.rejects(openApiDocuments(down), /answered 503, expected 200: starting/);
  });

  test("says what does not answer, and shows the rest", async () => {
    const { status, body } = await ask("/explore/status");
    assert.equal(status, 200);
    const { api: version, etcd: store } = JSON.parse(body);
    assert.deepEqual([version, store], [{ version: "v1.36.3" }, { error: "etcd is gone" }]);
    const gone = await ask("/api/v1/nodes");
    assert.deepEqual([gone.status, JSON.parse(gone.body)], [502, { message: "the API server does not answer" }]);
    assert.equal((await ask("/explore/value?key=/registry/pods/none")).status, 404);
    assert.equal((await ask("/explore/value?key=/other")).status, 400);
  });

  test("gives bytes a page at a time, and none of a Secret", async () => {
    const key = "/registry/configmaps/default/long";
    const first = JSON.parse((await ask(`/explore/raw?key=${key}`)).body);
    assert.deepEqual([first.dump.split("\n").length, first.next], [256, 4096]);
    const rest = JSON.parse((await ask(`/explore/raw?key=${key}&offset=4096`)).body);
    assert.match(rest.dump, /^00001000 /);
    assert.equal(rest.next, undefined);
    assert.equal((await ask(`/explore/raw?key=${key}&offset=-16`)).status, 400);
    const withheld = await ask("/explore/raw?key=/registry/secrets/default/door");
    assert.equal(withheld.status, 403);
    assert.match(withheld.body, /start the page with --show-secrets/);
    assert.ok(!withheld.body.includes("MTIzNA"));
  });
});
