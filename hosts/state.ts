/** What `pulumi stack export` gives, as far as it is looked at here. */
export interface Export {
  readonly deployment: {
    readonly resources?: readonly StoredResource[];
    readonly [key: string]: unknown;
  } | null;
  readonly [key: string]: unknown;
}

interface StoredResource {
  readonly urn: string;
  readonly deletedWith?: string;
  readonly retainOnDelete?: boolean;
  readonly [key: string]: unknown;
}

const rootName = /::([a-z0-9.-]+)-root-(\d+\.\d+\.\d+\.\d+)$/;

/**
 * The state of a stack in which a host, and all that goes with it, is deleted without asking the host. Throws if the stack
 * has no such host, naming those that it has.
 */
export function withoutAsking(state: Export, host: string): Export {
  const resources = state.deployment?.resources ?? [];
  const rootOf = (urn: string) => rootName.exec(urn)?.[1];
  const addressed = (urn: string) => rootName.exec(urn)?.slice(1).join("@");
  // One that was given another address has two until the first is reset.
  const roots = resources.map(({ urn }) => urn).filter((urn) => rootOf(urn) === host || addressed(urn) === host);
  const [root, ...more] = roots;
  if (more.length > 0) {
    throw new Error(
      `host ${host}: the stack's state has it at several addresses; expected one of ${roots.map(addressed).join(", ")}`,
    );
  }
  if (root === undefined) {
    const hosts = resources.flatMap(({ urn }) => rootOf(urn) ?? []);
    throw new Error(
      `host ${host}: the stack's state has no such host; expected one of ${hosts.join(", ") || "none: there is nothing to forget"}`,
    );
  }
  const goes = ({ urn, deletedWith }: StoredResource) => urn === root || deletedWith === root;
  return {
    ...state,
    deployment: {
      ...state.deployment,
      resources: resources.map((resource) => (goes(resource) ? { ...resource, retainOnDelete: true } : resource)),
    },
  };
}
