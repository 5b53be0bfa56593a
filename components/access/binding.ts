/** Binds a ClusterRole to a user; the same for a whole cluster and for a namespace. */
export const bindingOf = (clusterRole: string, user: string) => ({
  roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterRole },
  subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
});
