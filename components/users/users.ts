import { remote } from "@pulumi/command";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { type Access, deletedAtOnce } from "../access/access.ts";
import { bindingOf } from "../access/binding.ts";
import { credentials, kubeconfigOf } from "../access/kubeconfig.ts";
import { Accounts } from "../accounts/accounts.ts";
import type { ControlPlane } from "../control-plane/control-plane.ts";
import { rootShell } from "../host/shipment.ts";
import type { Pki } from "../pki/pki.ts";
import type { ClusterSpec } from "../spec.ts";
import { parts } from "../system.ts";
import { renderUserProbe, rightsOf } from "./render.ts";

export interface UsersArgs {
  readonly spec: ClusterSpec;
  readonly pki: Pki;
  readonly access: Access;
  readonly controlPlane: ControlPlane;
}

/**
 * The rights of the configuration's users, and the proof that they have them: on the control plane's host requests are
 * sent with each one's certificate, and answered as the API server's review says of the name and groups. Where nothing
 * else proves the system, the administrator and a request without a certificate are tried in any case. Where no controller
 * manager makes them, service accounts come along.
 */
export class Users extends pulumi.ComponentResource {
  readonly outputs: {
    /** User → a kubeconfig with nothing of anyone else's; secret. Not there without users. */
    readonly userKubeconfigs?: pulumi.Output<Record<string, string>>;
    /** Who asked for what and how it was answered, a line each. Not there where nobody asked. */
    readonly userRequests?: pulumi.Output<string[]>;
  };

  constructor(name: string, args: UsersArgs, opts?: pulumi.ComponentResourceOptions) {
    super("plainkube:users:Users", name, {}, opts);
    const { spec, pki, access } = args;
    if (!parts[spec.system].has("controllers")) new Accounts("accounts", { access }, { parent: this });
    const bindings = spec.users.flatMap((user) =>
      rightsOf(spec, user).map(({ clusterRole, namespace }) => {
        const id = [user.name, clusterRole, ...(namespace ? [namespace] : [])].join(":");
        const Binding = namespace ? kubernetes.rbac.v1.RoleBinding : kubernetes.rbac.v1.ClusterRoleBinding;
        return new Binding(
          `${name}-${id}`,
          {
            metadata: {
              name: `plainkube:${user.name}:${clusterRole}`,
              ...(namespace && { namespace }),
              annotations: deletedAtOnce,
            },
            ...bindingOf(clusterRole, user.name),
          },
          access.options(this),
        );
      }),
    );
    const ca = pki.authorities.kubernetes;
    const own = [...pki.users].map(([user, pair]) => [user, kubeconfigOf(spec, user, ca, pair)] as const);
    const isAsked = own.length > 0 || !parts[spec.system].has("proof");
    this.outputs = {
      ...(own.length > 0 && { userKubeconfigs: pulumi.secret(pulumi.output(Object.fromEntries(own))) }),
      ...(isAsked && { userRequests: this.#ask(name, args, bindings) }),
    };
  }

  /** Sends the requests, once the bindings are there, and the controllers, which gather the rules of view, edit and admin. */
  #ask(name: string, { spec, pki, controlPlane }: UsersArgs, bindings: pulumi.Resource[]): pulumi.Output<string[]> {
    const { host } = controlPlane;
    const script = pulumi
      .all([credentials(["kubernetes-admin", pki.cluster.admin]), pulumi.all([...pki.users].map(credentials))])
      .apply(([admin, users]) => renderUserProbe(spec, admin, users));
    const probe = new remote.Command(
      `${name}-${host.spec.name}`,
      {
        connection: host.connection,
        create: rootShell(),
        stdin: pulumi.secret(script),
        addPreviousOutputInEnv: false,
      },
      { parent: this, deletedWith: host.root, dependsOn: [controlPlane.settled, ...bindings] },
    );
    // Made of a secret, but it holds none.
    return pulumi.unsecret(probe.stdout).apply((lines) => lines.trimEnd().split("\n"));
  }
}
