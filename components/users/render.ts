import type { KubeconfigUser } from "../access/kubeconfig.ts";
import { bareScript } from "../host/bare.ts";
import { shellWord, wholeScript } from "../host/shipment.ts";
import { paths } from "../paths.ts";
import type { ClusterSpec, UserSpec } from "../spec.ts";
import { parts } from "../system.ts";

const probe = bareScript(new URL("./probe.sh", import.meta.url));

/** A ClusterRole as a user gets it. */
export interface Right {
  readonly clusterRole: string;
  /** Where; everywhere if it is not given. */
  readonly namespace?: string;
}

/** Roles whose rules a controller manager collects from others → where these rules stand. */
const collected: Readonly<Record<string, readonly string[]>> = {
  view: ["view"],
  edit: ["edit", "view"],
  admin: ["admin", "edit", "view"],
};

/** The roles that give a user what the configuration says. Without a controller manager some built-in ones are empty. */
export function rightsOf({ system }: ClusterSpec, user: UserSpec): Right[] {
  const roles = (role: string) =>
    parts[system].has("controllers") ? undefined : collected[role]?.map((from) => `system:aggregate-to-${from}`);
  const rights = user.bindings.flatMap(({ clusterRole, namespace }) =>
    (roles(clusterRole) ?? [clusterRole]).map((role) => ({ clusterRole: role, ...(namespace && { namespace }) })),
  );
  return [...new Map(rights.map((right) => [JSON.stringify(right), right])).values()];
}

/** A request that is sent as a user, and the review that says what must come of it. */
interface Question {
  readonly what: string;
  readonly path: string;
  /** A SubjectAccessReview as JSON. */
  readonly review: string;
}

/** Resources that tell the built-in roles view, edit and admin from each other, and only need to be read. */
const tried = [
  { group: "", resource: "pods" },
  { group: "", resource: "secrets" },
  { group: "rbac.authorization.k8s.io", resource: "roles" },
] as const;

/** What is asked as a user: in the namespaces of the bindings, in `default`, and of the cluster as a whole. */
export function questionsFor(user: UserSpec): Question[] {
  const question = ({ group, resource }: { group: string; resource: string }, namespace?: string): Question => {
    const root = group === "" ? "/api/v1" : `/apis/${group}/v1`;
    const place = namespace === undefined ? "" : `/namespaces/${namespace}`;
    return {
      what: `list ${resource}${namespace === undefined ? "" : ` in ${namespace}`}`,
      path: `${root}${place}/${resource}?limit=1`,
      review: JSON.stringify({
        apiVersion: "authorization.k8s.io/v1",
        kind: "SubjectAccessReview",
        spec: {
          user: user.name,
          // The API server adds the last to everyone with a certificate.
          groups: [...user.groups, "system:authenticated"],
          resourceAttributes: { verb: "list", group, version: "v1", resource, ...(namespace && { namespace }) },
        },
      }),
    };
  };
  const namespaces = new Set(["default", ...user.bindings.flatMap((b) => b.namespace ?? [])]);
  return [
    ...[...namespaces].flatMap((namespace) => tried.map((what) => question(what, namespace))),
    question({ group: "", resource: "namespaces" }),
  ];
}

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

/** The script that asks as the administrator, as nobody, and as each user. It holds their keys. */
export function renderUserProbe(spec: ClusterSpec, admin: KubeconfigUser, users: readonly KubeconfigUser[]): string {
  const roles = new Set(spec.users.flatMap((user) => rightsOf(spec, user).map((r) => r.clusterRole)));
  const asked = users.flatMap(({ name, cert, key }) => {
    const user = spec.users.find((u) => u.name === name);
    if (!user) throw new Error(`user ${name} is not in the configuration`);
    const lines = questionsFor(user).map((q) => ["ask", q.what, q.path, q.review]);
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
