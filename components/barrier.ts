import type * as pulumi from "@pulumi/pulumi";
import { RandomId } from "@pulumi/random";

/** So many may stand at each other's in the state by name. */
const few = 8;

/**
 * What to depend on in order to wait for all of these resources. Where something on each host waits for every host, the names
 * of all of them would stand at each in the state, which would grow with the square of the hosts: where there are more than a
 * few it is one resource, and nothing but that.
 */
export function barrier(
  name: string,
  dependsOn: pulumi.Resource[],
  opts: pulumi.CustomResourceOptions = {},
): pulumi.Resource[] {
  return dependsOn.length > few ? [new RandomId(name, { byteLength: 1 }, { ...opts, dependsOn })] : dependsOn;
}
