/** What the figures of large clusters are computed with. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { grown, parseMetrics, quantile, total } from "../../bench/hollow/metrics.ts";
import { fitLine, growth, podCidrCapacity } from "../../bench/scale-fit.ts";
import { scaleHosts, unusedHostKey } from "../../bench/scale-hosts.ts";
import { hostKeySchema } from "../../components/schema.ts";
import { devConfig, hostKey, specOf } from "./clusters.ts";

test("hosts: one for the control plane, the rest for pods, at addresses one after the other", () => {
  assert.deepEqual(scaleHosts(2), [
    {
      name: "control",
      address: "10.90.23.41",
      roles: ["control-plane", "worker"],
      taints: [{ key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule" }],
    },
    { name: "worker1", address: "10.90.23.42", roles: ["worker"] },
    { name: "worker2", address: "10.90.23.43", roles: ["worker"] },
  ]);
  const many = scaleHosts(999, "172.20.0.1");
  assert.equal(many[255]?.address, "172.20.1.0", "carries into the next octet");
  assert.equal(new Set(many.map(({ address }) => address)).size, 1000);
  assert.throws(() => scaleHosts(0), /workers: got 0, expected 1 or more/);
});

test("a made-up host key passes for a real one, and is another each time", () => {
  assert.ok(hostKeySchema.safeParse(unusedHostKey()).success);
  assert.notEqual(unusedHostKey(), unusedHostKey());
});

test("a line through figures, and how they grow", () => {
  const { base, perHost } = fitLine([
    [2, 30],
    [4, 40],
    [8, 60],
  ]);
  assert.ok(Math.abs(base - 20) < 1e-9 && Math.abs(perHost - 5) < 1e-9);
  assert.throws(() => fitLine([[2, 30]]), /two different numbers of hosts/);
  assert.equal(growth([10, 3], [100, 30]), 1);
  assert.equal(growth([10, 3], [100, 300]), 2);
});

test("how many nodes a pod CIDR has room for, and that the program refuses one host more", () => {
  assert.equal(podCidrCapacity("10.244.0.0/16", 24), 256);
  assert.equal(podCidrCapacity("10.128.0.0/12", 24), 4096);
  const config = (workers: number) => ({
    ...devConfig(),
    hosts: scaleHosts(workers, "172.20.0.1").map((host) => ({ ...host, hostKey })),
  });
  assert.equal(specOf(config(255)).hosts.length, 256);
  assert.throws(
    () => specOf(config(256)),
    /podCidr is too small for the hosts\s+got: +10\.244\.0\.0\/16 in shares of \/24 for 257 hosts/,
  );
});

test("metrics: counters and the bucket of a quantile, between two looks", () => {
  const histogram = (fast: number, slow: number) =>
    [
      `seconds_bucket{verb="GET",le="0.1"} ${fast}`,
      `seconds_bucket{verb="GET",le="0.5"} ${fast + slow}`,
      `seconds_bucket{verb="GET",le="+Inf"} ${fast + slow}`,
      `seconds_bucket{verb="WATCH",le="0.1"} 0`,
      `seconds_bucket{verb="WATCH",le="+Inf"} 9`,
    ].join("\n");
  const before = parseMetrics(`# HELP requests …\nrequests{verb="GET"} 5\nrequests{verb="PUT"} 1\n${histogram(5, 5)}`);
  const after = parseMetrics(
    `requests{verb="GET"} 105\nrequests{verb="PUT"} 3\n${histogram(105, 6)}\nrequests_other 7`,
  );
  assert.equal(total(after, "requests"), 108);
  assert.equal(
    grown(before, after, "requests", ({ verb }) => verb === "PUT"),
    2,
  );
  const get = ({ verb }: Readonly<Record<string, string>>) => verb === "GET";
  assert.equal(quantile(before, after, "seconds", 0.9, get), 0.1);
  assert.equal(quantile(before, after, "seconds", 0.999, get), 0.5);
  assert.equal(quantile(after, after, "seconds", 0.99, get), undefined);
});
