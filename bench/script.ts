import { benchHosts, freshHosts, withHosts } from "./lab.ts";
import { processorOf, type Round, runScript, secondsOf } from "./round.ts";
import { between, trafficOf } from "./traffic.ts";
import { makeWorkspace } from "./workspace.ts";

/**
 * The plain shell script. The clock of the first `up` includes the keys, the way of every binary and all the work on hosts; what it
 * does not do is check, remember and undo.
 */
export async function benchScript({ parts, measurements, log }: Round): Promise<void> {
  const hosts = benchHosts(2);
  const instance = await freshHosts(hosts, log);
  const { directory, hosts: names } = await makeWorkspace(instance, hosts, log);
  const before = await trafficOf(instance);
  const processor = await processorOf(instance, async () =>
    measurements.add(
      "first up: script",
      await secondsOf(() => runScript(instance, "script/up.sh", [directory, ...names])),
    ),
  );
  measurements.add("first up: script, processor", processor.machine);
  measurements.add("first up: script, sent", between(before, await trafficOf(instance)).sentBytes);
  if (!parts.has("changes")) return;

  const changed = await secondsOf(() => runScript(instance, "script/change-flag.sh", [directory, ...names]));
  measurements.add("one flag: restart over ssh", changed);

  const three = benchHosts(3);
  const larger = await withHosts(three, log);
  const { hosts: all } = await makeWorkspace(larger, three, log);
  const joined = await secondsOf(() => runScript(larger, "script/join.sh", [directory, ...all]));
  measurements.add("third host: script", joined);
}
