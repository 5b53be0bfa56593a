import { readFileSync } from "node:fs";
import type { KubeconfigUser } from "../access/kubeconfig.ts";
import { shellWord, wholeScript } from "../host/shipment.ts";
import { paths } from "../paths.ts";
import type { ClusterSpec, UserSpec } from "../spec.ts";

const probe = readFileSync(new URL("./probe.sh", import.meta.url), "utf8");

/** A request that is sent as a user, and the review that says what must come of it. */
interface Question {
  readonly what: string;
  readonly method: "GET" | "POST";
  readonly path: string;
  /** Content as JSON, or "". */
  readonly body: string;
  /** A SubjectAccessReview as JSON. */
  readonly review: string;
}

/** A verb and a resource of the core API group that tell the built-in roles from each other. */
const tried = [
  ["list", "pods"],
  ["list", "secrets"],
  ["create", "configmaps"],
] as const;

/** What is asked as a user: in the namespaces of the bindings, in `default`, and of the cluster as a whole. */
export function questionsFor(user: UserSpec): Question[] {
  const question = (verb: "list" | "create", resource: string, namespace?: string): Question => {
    const path = `/api/v1/${namespace === undefined ? "" : `namespaces/${namespace}/`}${resource}`;
    const attributes = { verb, group: "", version: "v1", resource, ...(namespace !== undefined && { namespace }) };
    const common = {
      what: `${verb} ${resource}${namespace === undefined ? "" : ` in ${namespace}`}`,
      review: JSON.stringify({
        apiVersion: "authorization.k8s.io/v1",
        kind: "SubjectAccessReview",
        spec: {
          user: user.name,
          groups: [...user.groups, "system:authenticated"],
          resourceAttributes: attributes,
        },
      }),
    };
    if (verb === "list") return { ...common, method: "GET", path: `${path}?limit=1`, body: "" };
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { generateName: "proof-" } };
    return { ...common, method: "POST", path: `${path}?dryRun=All`, body: JSON.stringify(object) };
  };
  const namespaces = new Set(["default", ...user.bindings.flatMap((b) => b.namespace ?? [])]);
  return [
    ...[...namespaces].flatMap((namespace) => tried.map(([verb, resource]) => question(verb, resource, namespace))),
    question("list", "namespaces"),
  ];
}

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

/** The script that asks as the administrator, as nobody, and as each user. It holds their keys. */
export function renderUserProbe(spec: ClusterSpec, admin: KubeconfigUser, users: readonly KubeconfigUser[]): string {
  const roles = new Set(spec.users.flatMap((user) => user.bindings.map((b) => b.clusterRole)));
  const asked = users.flatMap(({ name, cert, key }) => {
    const user = spec.users.find((u) => u.name === name);
    if (!user) throw new Error(`user ${name} is not in the configuration`);
    const lines = questionsFor(user).map((q) => ["ask", q.what, q.method, q.path, q.body, q.review]);
    return [["user", name, base64(cert), base64(key)], ...lines];
  });
  const calls = [
    ["administrator", base64(admin.cert), base64(admin.key)],
    ["anonymous"],
    ...[...roles].map((role) => ["role", role]),
    ["roles_are_there"],
    ...asked,
  ];
  const settings = ["api=https://127.0.0.1:6443", `ca=${paths.pki}/ca.crt`, "seconds=60"];
  return wholeScript([...settings, probe, ...calls.map((words) => words.map(shellWord).join(" "))].join("\n"));
}
