import assert from "node:assert/strict";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { obtain, resolveSource } from "../../components/binaries/obtain.ts";
import { pinsFor } from "../../components/binaries/pins.ts";
import { clusterSchema } from "../../components/schema.ts";
import { supportedVersions } from "../../components/versions.ts";
import { runOnHost } from "../../lab/instance.ts";
import { readRecord } from "../../lab/record.ts";
import type { TestCluster } from "./harness.ts";

/** What another's runtime takes: programs and an image, put on the disk of its host. */
const programs = [
  ...["containerd", "containerd-shim-runc-v2", "ctr", "runc"],
  ...["bridge", "host-local", "loopback", "portmap", "workload.tar"],
];

/**
 * Things of somebody else's on the hosts of a cluster (see others.sh): on node1 a container of another runtime, with a port that
 * is published by the same CNI plugins that plainkube uses, on a host that forwards; node2 forwards nothing of its own accord.
 */
export class Others {
  readonly #cluster: TestCluster;
  readonly #container: string;

  private constructor(cluster: TestCluster, container: string) {
    this.#cluster = cluster;
    this.#container = container;
  }

  /** Puts them there, published ports by this backend of the portmap plugin; they work when it returns. */
  static async settle(cluster: TestCluster, backend: "iptables" | "nftables"): Promise<Others> {
    const { instance } = cluster;
    const { binaries } = clusterSchema
      .pick({ binaries: true })
      .parse({ binaries: cluster.config["plainkube:binaries"] });
    const log = (line: string) => console.error(`# ${line}`);
    const settings = await resolveSource(binaries, log);
    const versions = Object.values(supportedVersions)[0];
    assert.ok(versions);
    const files = await obtain(pinsFor(programs, versions, "amd64", settings), settings, log);
    const disks = (await readRecord(instance.name))?.disks ?? "";
    const folder = join(disks, "node1/var-lib/other/bin");
    await mkdir(folder, { recursive: true });
    await Promise.all([...files].map(([name, { path }]) => cp(path, join(folder, name))));
    await cluster.onHost("node1", "chmod 0755 /var/lib/other/bin/*");
    const input = await readFile(join(import.meta.dirname, "others.sh"), "utf8");
    for (const [host, args] of [
      ["node1", `container ${backend}`],
      ["node2", ""],
    ] as const) {
      const { code, stderr } = await runOnHost(instance, host, `bash -s -- ${args}`, { input });
      assert.equal(code, 0, `things of others on ${host}: ${stderr}`);
    }
    const others = new Others(cluster, await containerOn(cluster));
    await others.assertWork();
    return others;
  }

  /** The container runs on, as the process that it was, and answers at its published port. */
  async assertWork(): Promise<void> {
    assert.equal(await containerOn(this.#cluster), this.#container, "the container of another runtime");
    const asked = "curl -sf --max-time 5 -o /dev/null -w '%{http_code}' http://10.90.23.41:8088/";
    assert.equal(await this.#cluster.onHost("node2", asked), "200");
    assert.equal(await this.#cluster.onHost("node2", "cat /etc/plainkube-other/kept"), "kept\n");
  }
}

/** The container's process and when it was started. */
const containerOn = (cluster: TestCluster): Promise<string> =>
  cluster.onHost(
    "node1",
    "pid=$(/var/lib/other/bin/ctr --address /run/other/containerd/containerd.sock tasks list | awk '$1 == \"other\" { print $2 }'); cut -d' ' -f1,22 /proc/$pid/stat",
  );

/** A pod of ours with port 18080 of its host, on a node that may take no others; made anew where it is. */
export async function makeHarbour(cluster: TestCluster, node: string): Promise<void> {
  const file = join(cluster.instance.directory, "harbour.json");
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "harbour", namespace: "plainkube-proof" },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      tolerations: [{ operator: "Exists" }],
      containers: [
        {
          name: "workload",
          image: "plainkube.local/workload:1.0.0",
          ports: [{ containerPort: 8080, hostPort: 18080 }],
        },
      ],
    },
  };
  await writeFile(file, JSON.stringify(pod));
  await cluster.kubectl("delete", "pod", "harbour", "-n", "plainkube-proof", "--ignore-not-found");
  await cluster.kubectl("apply", "-f", file);
  await cluster.kubectl("wait", "-n", "plainkube-proof", "--for=condition=Ready", "pod/harbour", "--timeout=30s");
  const address = cluster.instance.hosts.find(({ name }) => name === node)?.address;
  const asked = `curl -sf --max-time 5 -o /dev/null -w '%{http_code}' http://${address}:18080/healthz`;
  const from = cluster.hosts.find((name) => name !== node) ?? node;
  assert.equal(await cluster.onHost(from, asked), "200", "the port of the host");
}
