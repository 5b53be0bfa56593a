import type { LabInstance } from "../../lab/instance.ts";
import { onHost } from "./crowd.ts";
import { grown, type Metrics, parseMetrics, quantile, total, type Wanted } from "./metrics.ts";

/** What a unit of the control plane takes. */
export interface UnitFigures {
  readonly memoryMiB: number;
  readonly cpuSeconds: number;
}

/** A look at the control plane. */
export interface Look {
  readonly at: number;
  readonly api: Metrics;
  readonly etcd: Metrics;
  readonly units: ReadonlyMap<string, UnitFigures>;
}

export const watchedUnits = [
  ...["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"],
  ...["kubelet", "kube-proxy", "plainkube-routes"],
];

/** `raw`: asks the API for a path. */
export async function look(instance: LabInstance, host: string, raw: (path: string) => Promise<string>): Promise<Look> {
  // A unit's main process alone: etcd and the rest have no other. Of plainkube-routes, those that have ended count, too.
  const script = watchedUnits
    .map(
      (unit) =>
        `pid=$(systemctl show --property MainPID --value ${unit}.service); echo ${unit} $(awk '/^VmRSS/ { print $2 }' /proc/$pid/status) $(awk '{ print $14 + $15 + $16 + $17 }' /proc/$pid/stat)`,
    )
    .join("\n");
  const [api, etcd, units] = await Promise.all([
    raw("/metrics"),
    onHost(instance, host, "curl -sf http://127.0.0.1:2381/metrics"),
    onHost(instance, host, script),
  ]);
  return {
    at: performance.now(),
    api: parseMetrics(api),
    etcd: parseMetrics(etcd),
    units: new Map(
      units
        .trim()
        .split("\n")
        .map((line): [string, UnitFigures] => {
          const [unit = "", kib, ticks] = line.split(" ");
          return [unit, { memoryMiB: Number(kib) / 1024, cpuSeconds: Number(ticks) / 100 }];
        }),
    ),
  };
}

/** Requests that end: a watch lasts as long as it is wanted. */
const ends: Wanted = ({ verb }) => verb !== "WATCH" && verb !== "CONNECT";
const reads: Wanted = (labels) => labels.verb === "GET" || labels.verb === "LIST";
const writes: Wanted = (labels) => ends(labels) && !reads(labels);

const ofNodes =
  (verb: string): Wanted =>
  (labels) =>
    labels.resource === "nodes" && labels.verb === verb;

const padded = (value: string | number, width: number): string => String(value).padStart(width);

/** Prints what the control plane took between two looks. */
export function printPhase(title: string, before: Look, after: Look): void {
  const seconds = (after.at - before.at) / 1000;
  const p99 = (wanted: Wanted) => {
    const bound = quantile(before.api, after.api, "apiserver_request_duration_seconds", 0.99, wanted);
    return bound === undefined ? "-" : `${bound * 1000} ms`;
  };
  const requests = (wanted?: Wanted) => grown(before.api, after.api, "apiserver_request_total", wanted);
  const rate = (count: number) => (count / seconds).toFixed(1);
  const fsync = quantile(before.etcd, after.etcd, "etcd_disk_wal_fsync_duration_seconds", 0.99, () => true);
  console.log(`\n${title} (${seconds.toFixed(1)} s)`);
  for (const [unit, now] of after.units) {
    const earlier = before.units.get(unit)?.cpuSeconds ?? 0;
    // One that has started anew counts from nothing.
    const cpu = now.cpuSeconds - (now.cpuSeconds < earlier ? 0 : earlier);
    console.log(
      `  ${unit.padEnd(24)} ${padded(now.memoryMiB.toFixed(0), 6)} MiB  ${padded(cpu.toFixed(1), 6)} CPU s  ${padded(((cpu / seconds) * 100).toFixed(0), 4)} % of one core`,
    );
  }
  console.log(
    [
      `  etcd: ${(total(after.etcd, "etcd_mvcc_db_total_size_in_bytes") / 2 ** 20).toFixed(1)} MiB on disk,`,
      `${(total(after.etcd, "etcd_mvcc_db_total_size_in_use_in_bytes") / 2 ** 20).toFixed(1)} MiB in use;`,
      `fsync p99 at most ${fsync === undefined ? "-" : `${fsync * 1000} ms`}`,
    ].join(" "),
  );
  console.log(
    [
      `  requests: ${requests(ends)} (${rate(requests(ends))}/s);`,
      `p99 at most ${p99(reads)} of reads, ${p99(writes)} of writes`,
    ].join(" "),
  );
  const lease = requests(({ resource, verb }) => resource === "leases" && verb === "PUT");
  const listed = grown(before.api, after.api, "apiserver_response_sizes_sum", ofNodes("LIST"));
  console.log(
    [
      `  leases renewed ${rate(lease)}/s; status of nodes patched ${rate(requests(ofNodes("PATCH")))}/s;`,
      `all nodes listed ${requests(ofNodes("LIST"))} times, ${(listed / 2 ** 20).toFixed(1)} MiB;`,
      `watches open ${total(after.api, "apiserver_longrunning_requests", ({ verb }) => verb === "WATCH")}`,
    ].join(" "),
  );
}
