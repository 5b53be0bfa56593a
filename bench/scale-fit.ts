import { prefixLength } from "../components/cidr.ts";

/** A straight line through figures: what there is without hosts, and what each host adds. */
export interface Line {
  readonly base: number;
  readonly perHost: number;
}

/** The line with the least squares through points of hosts and a figure. Throws without two different numbers of hosts. */
export function fitLine(points: readonly (readonly [hosts: number, figure: number])[]): Line {
  const n = points.length;
  const mean = (of: (point: readonly [number, number]) => number) => points.reduce((sum, p) => sum + of(p), 0) / n;
  const [x, y] = [mean(([hosts]) => hosts), mean(([, figure]) => figure)];
  const spread = points.reduce((sum, [hosts]) => sum + (hosts - x) ** 2, 0);
  if (!(spread > 0)) throw new Error("a line needs figures of two different numbers of hosts at least");
  const perHost = points.reduce((sum, [hosts, figure]) => sum + (hosts - x) * (figure - y), 0) / spread;
  return { base: y - perHost * x, perHost };
}

/** How fast a figure grows between two numbers of hosts: 1 as the hosts do, 2 as their square does. */
export function growth(small: readonly [number, number], large: readonly [number, number]): number {
  return Math.log(large[1] / small[1]) / Math.log(large[0] / small[0]);
}

/** How many nodes get addresses for pods: the shares of `nodeMask` bits in a pod CIDR. */
export const podCidrCapacity = (podCidr: string, nodeMask: number): number => 2 ** (nodeMask - prefixLength(podCidr));
