/**
 * What the API server's settings become. That kube-apiserver takes the files, and does what they say, is for the
 * end-to-end tests.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { pluginsOf } from "../../components/control-plane/admission.ts";
import { auditPolicyOf, revealing } from "../../components/control-plane/audit.ts";
import { faultOfOrigin } from "../../components/control-plane/cors.ts";
import { renderEncryptionFile } from "../../components/control-plane/encryption.ts";
import { list } from "../../components/control-plane/part.ts";
import { renderApiServer } from "../../components/control-plane/render.ts";
import type { AuditRule } from "../../components/schema.ts";
import { devConfig, directory, specOf } from "./clusters.ts";

const withServer = (apiServer: Record<string, unknown>) => specOf({ ...devConfig(), apiServer });
const flagsOf = (apiServer: Record<string, unknown>): string[] => {
  const unit = renderApiServer(withServer(apiServer)).files.find((f) => f.path.endsWith("kube-apiserver.service"));
  return [...(unit?.content ?? "").matchAll(/^ {2}"?--(\S+?)"?(?: \\)?$/gm)].map(([, flag]) => flag ?? "");
};
const paths = (apiServer: Record<string, unknown>): string[] =>
  renderApiServer(withServer(apiServer)).files.map((f) => f.path.split("/").at(-1) ?? "");

test("what is switched off leaves neither flag nor file", () => {
  const off = { audit: { policy: "none" }, encryption: { secrets: false, generation: 0 } };
  assert.deepEqual(paths(off), ["kube-apiserver.service", "authentication.yaml"]);
  const optional = /^(audit|encryption|egress|cors|external|disable|admission)-/;
  assert.deepEqual(
    flagsOf(off).filter((flag) => optional.test(flag)),
    [],
  );
});

test("a change of any of its files restarts the API server", () => {
  const { units, files } = renderApiServer(
    withServer({
      egressSelector: { cluster: "direct" },
      admissionPlugins: { config: { PodSecurity: { apiVersion: "pod-security.admission.config.k8s.io/v1" } } },
    }),
  );
  const inputs = units[0]?.inputs ?? [];
  for (const { path } of files.slice(1)) assert.ok(inputs.includes(path), path);
  assert.ok(inputs.includes("/etc/plainkube/encryption.yaml"));
});

test("an issuer brings the address of its keys, unless they are elsewhere", () => {
  const issuer = "https://issuer.example.com/a";
  const of = (serviceAccounts: object) => flagsOf({ serviceAccounts }).filter((f) => /issuer|jwks/.test(f));
  assert.deepEqual(of({ issuer }), [
    `service-account-issuer=${issuer}`,
    `service-account-jwks-uri=${issuer}/openid/v1/jwks`,
  ]);
  assert.equal(
    of({ issuer, jwksUri: "https://keys.example.com" })[1],
    "service-account-jwks-uri=https://keys.example.com",
  );
});

test("a key is added without losing one, and encryption ends without losing what is encrypted", () => {
  const providers = (encryption: object, keys: string[]) =>
    parse(renderEncryptionFile(withServer({ encryption }), keys)).resources[0].providers;
  const key = (name: string, secret: string) => ({ name, secret });
  const all = { secretbox: { keys: [key("key3", "c"), key("key2", "b"), key("key1", "a")] } };
  assert.deepEqual(providers({ generation: 3 }, ["a", "b", "c"]), [all, { identity: {} }]);
  assert.deepEqual(providers({ secrets: false, generation: 3 }, ["a", "b", "c"]), [{ identity: {} }, all]);
});

test("the policies of our own log no body", () => {
  for (const policy of ["writes", "metadata", undefined] as const) {
    const { rules = [] } = auditPolicyOf({ policy, path: "-", maxAge: 0, maxBackup: 0, maxSize: 1 }, directory) ?? {};
    assert.ok(rules.length > 3);
    assert.deepEqual(
      rules.filter((rule) => rule.level !== "None" && rule.level !== "Metadata"),
      [],
    );
  }
});

test("a policy file is taken as it is", () => {
  const file = join(directory, "policy.yaml");
  const rules = [{ level: "Metadata", verbs: ["get"] }];
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: "audit.k8s.io/v1", kind: "Policy", omitManagedFields: true, rules }),
  );
  const { auditPolicy } = withServer({ audit: { policyFile: file } });
  assert.deepEqual(auditPolicy, { apiVersion: "audit.k8s.io/v1", kind: "Policy", omitManagedFields: true, rules });
});

const body: AuditRule = { level: "Request" };
const core = (...resources: string[]): AuditRule => ({ level: "Metadata", resources: [{ group: "", resources }] });
const reviews: AuditRule = {
  level: "None",
  resources: [{ group: "authentication.k8s.io", resources: ["tokenreviews"] }],
};
const safe = [core("secrets", "serviceaccounts/token"), reviews];
const policies: readonly [rules: AuditRule[], revealed: string | undefined][] = [
  [[{ level: "Metadata" }, body], undefined],
  [[...safe, body], undefined],
  [[core("*"), { ...reviews, resources: [{ group: "authentication.k8s.io" }] }, body], undefined],
  // No group is a wildcard upstream, and `secrets/*` means secrets, too.
  [[core("*"), { ...reviews, resources: [{ group: "*" }] }, body], "rules[2] of level Request, for tokenreviews"],
  [[{ ...core("secrets/*"), level: "RequestResponse" }], "rules[0] of level RequestResponse, for secrets"],
  [[core("secrets", "*/token"), reviews, body], undefined],
  [[core("secrets", "serviceaccounts/*"), reviews, body], undefined],
  [[body], "rules[0] of level Request, for secrets"],
  [[{ ...body, resources: [{ group: "apps" }] }], undefined],
  [[{ ...body, nonResourceURLs: ["/x"] }], undefined],
  [[core("secrets"), reviews, body], "rules[2] of level Request, for serviceaccounts/token"],
  [[core("secrets", "serviceaccounts"), reviews, body], "rules[2] of level Request, for serviceaccounts/token"],
  [[core("secrets", "serviceaccounts/token"), body], "rules[1] of level Request, for tokenreviews"],
  ...(["users", "userGroups", "verbs", "namespaces"] as const).map((key): [AuditRule[], string] => [
    [{ level: "None", [key]: ["a"] }, ...safe.slice(1), body],
    "rules[2] of level Request, for secrets",
  ]),
  [
    [{ level: "None", resources: [{ group: "", resources: ["secrets"], resourceNames: ["a"] }] }, body],
    "rules[1] of level Request, for secrets",
  ],
];

test("a policy by which credentials could be logged is seen", () => {
  for (const [rules, revealed] of policies) assert.equal(revealing({ rules }), revealed, JSON.stringify(rules));
});

test("origins as upstream takes them are taken", () => {
  const good = [
    "^https://ui\\.example\\.com$",
    "//127\\.0\\.0\\.1(:[0-9]+)?$",
    "://localhost(:|$)",
    "^(https|http)://a$",
    "^http://a$|^http://b$",
    "(?i)^https://a$",
    "^https://[a|b]{1,3}\\-x$",
    "^https://(?:a|b)$",
  ];
  for (const origin of good) assert.equal(faultOfOrigin(origin), undefined, origin);
});

test("a list of flags holds commas and quotes in its values", () => {
  assert.equal(list(["a", "b{1,3}", 'c"d']), 'a,"b{1,3}","c""d"');
});

test("plugins come and go with versions", () => {
  const has = (version: string, name: string) => pluginsOf(version).includes(name);
  assert.deepEqual(
    ["1.26.3", "1.27.2", "1.34.10", "1.35.8", "1.36.3"].map((v) => pluginsOf(v).length),
    [35, 36, 36, 37, 41],
    "as many as in upstream's list",
  );
  assert.ok(has("1.27.2", "SecurityContextDeny") && !has("1.34.10", "SecurityContextDeny"));
  assert.ok(has("1.27.2", "ClusterTrustBundleAttest") && !has("1.26.3", "ClusterTrustBundleAttest"));
});
