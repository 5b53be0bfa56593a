import { stat } from "node:fs/promises";
import { readyToSend, resolveSource } from "../components/binaries/obtain.ts";
import { pinsFor } from "../components/binaries/pins.ts";
import { stagesOf } from "../components/binaries/stages.ts";
import type { UploadOrder } from "../components/binaries/upload.ts";
import { sshTarget } from "../components/host/ssh.ts";
import { layoutOf } from "../components/paths.ts";
import { insideLan, runOnHost } from "../lab/instance.ts";
import { LAN_BRIDGE } from "../lab/network.ts";
import { must } from "../lab/shell.ts";
import { projectDirectory } from "../lab/stack.ts";
import { benchHosts, freshHosts } from "./lab.ts";
import { type Round, runScript, secondsOf } from "./round.ts";
import { between, trafficOf } from "./traffic.ts";
import { makeWorkspace, specOf } from "./workspace.ts";

/**
 * All that a control plane with a kubelet runs, sent to an idle host: by `ssh HOST 'cat >file'`, with nothing but OpenSSH's defaults, and as the
 * program does it, where the clock includes its start, what it asks the host, and the check on arrival. Then once more. The first two then by
 * a line of 1 Gbit/s.
 */
export async function benchUpload({ measurements, log }: Round): Promise<void> {
  const hosts = benchHosts(1);
  const instance = await freshHosts(hosts, log);
  const { directory } = await makeWorkspace(instance, hosts, log);
  const spec = await specOf(hosts);
  const settings = await resolveSource(spec.binaries, log);
  const pins = pinsFor(Object.values(stagesOf(spec)).flat(), spec.versions, "amd64", settings);
  const files = [...(await readyToSend(pins, settings, log)).files.values()].map(({ path }) => path);
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  const megabytes = sizes.reduce((sum, size) => sum + size, 0) / 1e6;

  const [host] = spec.hosts;
  if (host === undefined) throw new Error("upload: got no host, expected one");
  const order: UploadOrder = { ...sshTarget(spec, host), layout: layoutOf(spec) };
  const env = {
    ...process.env,
    PLAINKUBE_UPLOAD: JSON.stringify(order),
    PLAINKUBE_BINARIES: JSON.stringify(spec.binaries),
    PLAINKUBE_PINS: pins.map((p) => [p.name, p.version, p.arch, p.digest].join(" ")).join("\n"),
  };
  const upload = () =>
    must(
      [...insideLan(instance), "node", "--require=./components/compile-cache.cjs", "components/binaries/upload.ts"],
      { cwd: projectDirectory, env, input: "\n" },
    );

  // As a host has it that is claimed.
  await runOnHost(instance, host.name, "mkdir -p /var/lib/plainkube/state && sync");
  // Whoever is first finds them in memory, too.
  await must(["sha256sum", ...files, ...files.map((file) => `${file}.zst`)]);
  const plain = () => secondsOf(() => runScript(instance, "script/cat.sh", [directory, host.name, ...files]));
  const clear = () => runOnHost(instance, host.name, "rm -rf /opt/sent /opt/plainkube && sync");
  measurements.add("upload: ssh cat", megabytes / (await plain()));
  await clear();
  measurements.add("upload: ours", megabytes / (await secondsOf(upload)));
  const before = await trafficOf(instance);
  measurements.add("upload: again", await secondsOf(upload));
  measurements.add("upload: again, sent", between(before, await trafficOf(instance)).sentBytes);
  await clear();
  // Of what the workstation sends; the hosts' answers are short.
  const line = [
    "tc",
    "qdisc",
    "add",
    "dev",
    LAN_BRIDGE,
    "root",
    "tbf",
    "rate",
    "1gbit",
    "burst",
    "256kb",
    "latency",
    "50ms",
  ];
  await must([...insideLan(instance), ...line]);
  try {
    measurements.add("upload at 1 Gbit/s: ssh cat", megabytes / (await plain()));
    await clear();
    measurements.add("upload at 1 Gbit/s: ours", megabytes / (await secondsOf(upload)));
  } finally {
    await must([...insideLan(instance), "tc", "qdisc", "delete", "dev", LAN_BRIDGE, "root"]);
  }
}
