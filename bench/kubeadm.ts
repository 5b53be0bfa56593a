import { benchHosts, freshHosts } from "./lab.ts";
import { processorOf, type Round, runScript, secondsOf } from "./round.ts";
import { makeWorkspace } from "./workspace.ts";

/**
 * kubeadm. Before the clock starts, its binaries lie on the hosts, containerd runs with all images in it, and the kernel is set up for
 * pods: the clock includes `init`, `join`, the routes between pods and the proof.
 */
export async function benchKubeadm({ measurements, log }: Round): Promise<void> {
  const hosts = benchHosts(2);
  const instance = await freshHosts(hosts, log);
  const { directory, hosts: names } = await makeWorkspace(instance, hosts, log);
  await runScript(instance, "kubeadm/prepare.sh", [directory, ...hosts.map(({ name }) => name)]);
  const processor = await processorOf(instance, async () =>
    measurements.add(
      "first up: kubeadm",
      await secondsOf(() => runScript(instance, "kubeadm/up.sh", [directory, ...names])),
    ),
  );
  measurements.add("first up: kubeadm, processor", processor.machine);
}
