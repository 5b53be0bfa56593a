import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parseAllDocuments } from "yaml";
import { renderCorefile } from "../../components/dns/render.ts";
import { imageRefs } from "../../components/images.ts";
import { parseCluster } from "../../components/spec.ts";
import { must } from "../../lab/shell.ts";
import { devConfig, directory, projectDirectory, surroundings } from "./clusters.ts";
import { payloadsOf } from "./payloads.ts";

const spec = parseCluster(devConfig(), surroundings);
const bench = (path: string) => join(projectDirectory, "bench", path);

interface KubernetesObject {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly clusterIP?: string; readonly replicas?: number };
}

const objectsIn = async (file: string): Promise<KubernetesObject[]> =>
  parseAllDocuments(await readFile(bench(file), "utf8")).map((document) => document.toJS());

/** The plain script stays a yardstick only as long as it makes what the program makes of the stack `dev`. */
describe("the plain script", () => {
  test("makes every key and kubeconfig that a unit asks for, and no other", async () => {
    const out = join(directory, "hosts");
    const workers = spec.workers.map(({ name, address }) => `make_node ${name} ${address}`);
    const script = [
      "set -euo pipefail; umask 077",
      `out=${out} ca=${join(directory, "authorities")} api=${spec.controlPlane.address}`,
      `. ${bench("script/pki.sh")}`,
      `make_authorities; make_control_plane ${spec.controlPlane.name}`,
      'certificate kubernetes "$ca/proxy" /CN=system:kube-proxy clientAuth',
      ...workers,
    ];
    await must(["bash", "-c", script.join("\n")]);
    for (const host of spec.hosts) {
      const payloads = Object.values(payloadsOf(spec, host));
      const shipped = new Set(payloads.flatMap(({ files }) => files.map(({ path }) => path)));
      const wanted = payloads
        .flatMap(({ units }) => units.flatMap(({ inputs }) => inputs))
        .filter((path) => path.startsWith("/etc/plainkube/") && !shipped.has(path));
      const made = await Array.fromAsync(glob("**/*.*", { cwd: join(out, host.name) }));
      const files = made.map((path) => `/${path}`);
      assert.deepEqual(files.sort(), [...new Set(wanted)].sort(), host.name);
    }
  });

  test("signs certificates that their authority vouches for", async () => {
    const pki = join(directory, "hosts", spec.controlPlane.name, "etc/plainkube/pki");
    const verify = (ca: string, purpose: string, certificate: string) =>
      must(["openssl", "verify", "-purpose", purpose, "-CAfile", join(pki, ca), join(pki, certificate)]);
    await verify("ca.crt", "sslserver", "apiserver.crt");
    await verify("ca.crt", "sslserver", "kubelet/serving.crt");
    await verify("etcd/ca.crt", "sslclient", "apiserver-etcd-client.crt");
    await verify("front-proxy-ca.crt", "sslclient", "front-proxy-client.crt");
    await assert.rejects(verify("ca.crt", "sslclient", "apiserver.crt"));
  });

  test("makes the same objects in the cluster", async () => {
    const objects = await objectsIn("script/cluster.yaml");
    assert.equal(objects.find(({ kind }) => kind === "ConfigMap")?.data?.Corefile, renderCorefile(spec));
    assert.equal(objects.find(({ kind }) => kind === "Service")?.spec?.clusterIP, spec.dnsAddress);
    const proof = await objectsIn("script/proof.yaml");
    assert.equal(proof.find(({ kind }) => kind === "Deployment")?.spec?.replicas, spec.proof.replicas);
    const { coredns, workload } = imageRefs(spec.versions);
    for (const [file, image] of [
      ["script/cluster.yaml", coredns],
      ["script/proof.yaml", workload],
    ] as const) {
      const images = [...(await readFile(bench(file), "utf8")).matchAll(/image: (\S+)/g)].map(([, name]) => name);
      assert.deepEqual(images, [image]);
    }
  });
});

describe("kubeadm's configuration", () => {
  test("asks for the versions and networks of the stack", async () => {
    const text = await readFile(bench("kubeadm/init.yaml"), "utf8");
    const { kubernetes, etcd, coredns } = spec.versions;
    for (const line of [
      `kubernetesVersion: v${kubernetes}`,
      `etcd: {local: {imageTag: ${etcd}}}`,
      `dns: {imageTag: ${coredns}}`,
      `networking: {podSubnet: ${spec.network.podCidr}, serviceSubnet: ${spec.network.serviceCidr}}`,
    ]) {
      assert.ok(text.includes(`\n${line}\n`), line);
    }
  });
});
