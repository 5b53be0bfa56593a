import type * as pulumi from "@pulumi/pulumi";
import { RandomId } from "@pulumi/random";

/**
 * What to depend on in order to wait for all of these resources. Where something on each host waits for every host, the names
 * of all of them would stand at each in the state, which would grow with the square of the hosts: there it is one resource,
 * and nothing but that.
 */
export function barrier(
  name: string,
  dependsOn: pulumi.Resource[],
  opts: pulumi.CustomResourceOptions = {},
): pulumi.Resource[] {
  return dependsOn.length > 1 ? [new RandomId(name, { byteLength: 1 }, { ...opts, dependsOn })] : dependsOn;
}
