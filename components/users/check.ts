import { repeated } from "../repeated.ts";
import type { Check } from "../spec.ts";

/** Names by which the cluster's own client certificates stand for more than a user. */
const ownNames: readonly string[] = ["kubernetes-admin", "kube-apiserver", "kube-apiserver-kubelet-client"];

/** Refuses users that would be someone else, and what is said twice. */
export const checkUsers: Check = (config, add, isSound) => {
  const { users } = config;
  if (!isSound("users")) return;
  const names = users.map((u) => u.name);
  for (const twice of repeated(names)) {
    add(
      `plainkube:users has the name ${twice} more than once`,
      names.flatMap((n, i) => (n === twice ? [`users[${i}]`] : [])).join(" and "),
      "each name once",
      "give each user a name of its own",
    );
  }
  for (const [i, { name, groups, bindings }] of users.entries()) {
    if (ownNames.includes(name)) {
      add(
        `plainkube:users[${i}].name is a name of the cluster's own`,
        name,
        `a name other than ${ownNames.join(", ")}`,
        "choose another name",
      );
    }
    for (const group of groups.filter((g) => g.startsWith("system:"))) {
      add(
        `plainkube:users[${i}].groups has a group of the cluster's own`,
        group,
        "groups that do not begin with system: (their rights cannot be taken back from a certificate)",
        "remove it, and bind a ClusterRole: cluster-admin gives every right",
      );
    }
    for (const twice of repeated(groups)) {
      add(`plainkube:users[${i}].groups has a group twice`, twice, "each group once", "remove one of them");
    }
    const bound = bindings.map((b) => `${b.clusterRole} in ${b.namespace ?? "the whole cluster"}`);
    for (const twice of repeated(bound)) {
      add(`plainkube:users[${i}].bindings has a binding twice`, twice, "each binding once", "remove one of them");
    }
  }
};
