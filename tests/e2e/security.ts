import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { runOnHost } from "../../lab/instance.ts";
import { must } from "../../lab/shell.ts";
import { noteFigures, trial } from "../figures.ts";
import { assertGolden } from "../unit/golden.ts";
import { type CisRow, cisRows, type HostFacts } from "./cis.ts";
import { isLongRun, type TestCluster } from "./harness.ts";
import {
  base64Secret,
  type Finding,
  keySecret,
  ProcessWatch,
  type Secret,
  search,
  secretsOfState,
  textSecret,
} from "./secrets.ts";

/** What answers on an address that others reach; docs/security.md holds the same rows. */
export const openPorts = [
  { port: 2379, program: "etcd", on: "control-plane" },
  { port: 2380, program: "etcd", on: "control-plane" },
  { port: 6443, program: "kube-apiserver", on: "control-plane" },
  { port: 10250, program: "kubelet", on: "worker" },
  { port: 10256, program: "kube-proxy", on: "every host" },
] as const;

/** How exposed a unit may be at most, as `systemd-analyze security` counts; docs/security.md holds the same rows. */
export const exposures: Readonly<Record<string, number>> = {
  etcd: 2,
  "kube-apiserver": 2,
  "kube-controller-manager": 2,
  "kube-scheduler": 2,
  "plainkube-images": 2,
  "kube-proxy": 3.6,
  "plainkube-routes": 3.6,
};

const controlPlane = "node1";
const address = "10.90.23.41";
const pki = "/etc/plainkube/pki";
const etcdClient = ["etcd/ca.crt", "apiserver-etcd-client.crt", "apiserver-etcd-client.key"];

/** What a client gets of each TLS port, and of a server that takes everything: a line each. */
const tlsScript = `set -u
export LC_ALL=C
cd ${pki}
strong='ECDHE+AESGCM:ECDHE+CHACHA20'
answer() { timeout 5 openssl s_client -connect "$@" </dev/null 2>/dev/null | sed -nE 's/^New, TLSv[0-9.]+, Cipher is .*/yes/p'; }
look() {
  local name=$1 at=$2 version
  shift 2
  for version in tls1 tls1_1 tls1_2 tls1_3; do
    echo "$name $version $(answer "$at" "-$version" -cipher 'ALL:@SECLEVEL=0' "$@")"
  done
  echo "$name weak $(answer "$at" -tls1_2 -cipher "ALL:!\${strong//:/:!}:@SECLEVEL=0" "$@")"
}
client=(-cert apiserver-etcd-client.crt -key apiserver-etcd-client.key)
look 2379 ${address}:2379 "\${client[@]}"
look 2380 ${address}:2380 -cert etcd/peer.crt -key etcd/peer.key
look 6443 ${address}:6443
look 10250 ${address}:10250
look 10257 127.0.0.1:10257
look 10259 127.0.0.1:10259
openssl s_server -quiet -accept 127.0.0.1:19443 -cert etcd/server.crt -key etcd/server.key -cipher 'ALL:@SECLEVEL=0' -min_protocol TLSv1 >/dev/null 2>&1 &
server=$!
until (exec 3<>/dev/tcp/127.0.0.1/19443) 2>/dev/null; do sleep 0.05; done
look lax 127.0.0.1:19443
kill $server
`;

/** Status that a path has for someone without credentials. */
const anonymous: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  [`https://${address}:6443`]: {
    ...{ "/livez": "200", "/readyz": "200", "/healthz": "200" },
    ...{ "/": "401", "/version": "401", "/api": "401", "/apis": "401", "/metrics": "401", "/openapi/v3": "401" },
    ...{
      "/api/v1/secrets": "401",
      "/readyz/etcd": "401",
      "/debug/pprof/": "401",
      "/.well-known/openid-configuration": "401",
    },
  },
  "https://10.90.23.42:10250": {
    ...{
      "/healthz": "401",
      "/pods": "401",
      "/metrics": "401",
      "/configz": "401",
      "/logs/": "401",
      "/debug/pprof/": "401",
    },
  },
  "https://127.0.0.1:10257": { "/healthz": "200", "/metrics": "403", "/configz": "403", "/debug/pprof/": "403" },
  "https://127.0.0.1:10259": { "/healthz": "200", "/metrics": "403", "/configz": "403", "/debug/pprof/": "403" },
  // Nothing listens there.
  [`http://${address}:10255`]: { "/pods": "000" },
  [`http://${address}:2381`]: { "/metrics": "000" },
};

const exports = new WeakMap<TestCluster, Promise<string>>();

/** The decrypted state, read once: its keys do not change. Not by `cluster.pulumi`, which keeps what is printed. */
function exportedState(cluster: TestCluster): Promise<string> {
  const exported = exports.get(cluster) ?? exportState(cluster);
  exports.set(cluster, exported);
  return exported;
}

async function exportState(cluster: TestCluster): Promise<string> {
  const { code, stdout, stderr } = await cluster.stack.pulumi(["stack", "export", "--show-secrets"]);
  assert.equal(code, 0, stderr);
  return stdout;
}

interface CertificateResource {
  readonly type: string;
  readonly urn: string;
  readonly outputs: { readonly certPem?: string };
}

/** Every certificate of the state by the resource's name. */
function certificatesOf(exported: string): Map<string, string> {
  const { resources } = JSON.parse(exported).deployment as { resources: CertificateResource[] };
  const found = resources.filter(({ type }) => /^tls:.*Cert$/.test(type) && type.startsWith("tls:"));
  const named = found.flatMap(({ urn, outputs }): [string, string][] =>
    outputs.certPem
      ? [
          [
            urn
              .split("::")
              .at(-1)
              ?.replace(/-cert$/, "") ?? urn,
            outputs.certPem,
          ],
        ]
      : [],
  );
  return new Map(named);
}

/** What a certificate says, but for what is new each time. */
async function describeCertificate(name: string, pem: string): Promise<string> {
  const extensions = ["keyUsage", "extendedKeyUsage", "basicConstraints", "subjectAltName"];
  const text = await must(["openssl", "x509", "-noout", "-subject", "-issuer", "-ext", extensions.join(",")], {
    input: pem,
  });
  const { publicKey, validFromDate, validToDate } = new X509Certificate(pem);
  const { namedCurve, modulusLength } = publicKey.asymmetricKeyDetails ?? {};
  const days = (validToDate.getTime() - validFromDate.getTime()) / 86_400_000;
  const key = `key=${publicKey.asymmetricKeyType} ${namedCurve ?? modulusLength}`;
  return [name, ...text.trimEnd().split("\n"), key, `days=${days}`].join("\n  ");
}

/** Which key a file of a host holds; each host has these and no others. */
const keysOnHosts: Readonly<Record<string, string>> = {
  "node1:/etc/plainkube/encryption.yaml": "pki-encryption-key-1",
  "node1:/etc/plainkube/kubeconfig/controller-manager.yaml": "pki-controller-manager-key",
  "node1:/etc/plainkube/kubeconfig/kube-proxy.yaml": "pki-proxy-key",
  "node1:/etc/plainkube/kubeconfig/kubelet.yaml": "pki-node-node1-client-key",
  "node1:/etc/plainkube/kubeconfig/scheduler.yaml": "pki-scheduler-key",
  "node1:/etc/plainkube/pki/apiserver-etcd-client.key": "pki-apiserver-etcd-client-key",
  "node1:/etc/plainkube/pki/apiserver-kubelet-client.key": "pki-apiserver-kubelet-client-key",
  "node1:/etc/plainkube/pki/apiserver.key": "pki-apiserver-key",
  "node1:/etc/plainkube/pki/ca.key": "pki-kubernetes-ca-key",
  "node1:/etc/plainkube/pki/etcd/peer.key": "pki-etcd-peer-key",
  "node1:/etc/plainkube/pki/etcd/server.key": "pki-etcd-server-key",
  "node1:/etc/plainkube/pki/front-proxy-client.key": "pki-front-proxy-client-key",
  "node1:/etc/plainkube/pki/kubelet/serving.key": "pki-node-node1-serving-key",
  "node1:/etc/plainkube/pki/sa.key": "pki-service-account-key",
  "node2:/etc/plainkube/kubeconfig/kube-proxy.yaml": "pki-proxy-key",
  "node2:/etc/plainkube/kubeconfig/kubelet.yaml": "pki-node-node2-client-key",
  "node2:/etc/plainkube/pki/kubelet/serving.key": "pki-node-node2-serving-key",
};

const pkcs8 = { type: "pkcs8", format: "pem" } as const;
const newKey = {
  ec: () => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export(pkcs8).toString(),
  rsa: () => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export(pkcs8).toString(),
};

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** Secrets made for the search to find: a kind and a form in each place that is searched. */
interface Plants {
  readonly secrets: readonly Secret[];
  /** Where each must be found, and nowhere else. */
  readonly expected: readonly Finding[];
  remove(): Promise<void>;
}

async function plant(cluster: TestCluster): Promise<Plants> {
  const secrets: Secret[] = [];
  const expected: Finding[] = [];
  const put = (secret: Secret, ...where: string[]) => {
    secrets.push(secret);
    expected.push(...where.map((w) => ({ where: w, secret: secret.name })));
  };
  const text = () => randomBytes(24).toString("base64url");
  const { directory } = cluster.instance;
  const [ec, rsa, nested, inFile, bytes] = [newKey.ec(), newKey.rsa(), newKey.ec(), newKey.ec(), randomBytes(32)];
  const [token, passphrase, argument, environment] = [text(), text(), text(), text()];
  // By standard input: in a command it would be in the processes, too.
  const give = async (host: string, command: string, input: string) =>
    assert.equal((await runOnHost(cluster.instance, host, command, { input })).code, 0, command);
  const write = (host: string, path: string, content: string | Buffer) =>
    give(host, `umask 077; base64 -d >${path}`, Buffer.from(content).toString("base64"));

  put(keySecret("planted EC key", ec), "node2:/tmp/planted.pem");
  await write("node2", "/tmp/planted.pem", ec);
  put(keySecret("planted RSA key", rsa), "node1 journal");
  // Under a line's limit, as a log line would be: the middle of a kubeconfig.
  await give("node1", "logger -t planted; journalctl --sync", `x${base64(`key: ${rsa}`).slice(800, 1800)}\n`);
  put(keySecret("planted nested key", nested), "node1:/run/planted");
  await write("node1", "/run/planted", base64(`xy${base64(nested)}`));
  put(keySecret("planted key in bytes", inFile), "node1:/var/lib/plainkube/etcd/planted");
  const der = Buffer.from(inFile.replace(/-----.*-----|\n/g, ""), "base64");
  await write("node1", "/var/lib/plainkube/etcd/planted", Buffer.concat([randomBytes(100), der]));
  put(base64Secret("planted encryption key", bytes.toString("base64")), "node2:/root/.bash_history");
  await write("node2", "/root/.bash_history", `echo ${bytes.toString("hex")}\n`);
  put(textSecret("planted token", token), `machine:${directory}/state/.pulumi/backups/planted`, "node2:/etc/planted");
  const backup = join(directory, "state/.pulumi/backups/planted");
  await writeFile(backup, JSON.stringify({ header: `Bearer ${token}` }));
  await write("node2", "/etc/planted", base64(`y: ${token} `));
  put(textSecret("planted passphrase", passphrase), "machine output");
  cluster.printed.push(`error: wrong passphrase ${passphrase}`);
  const ofUnit = [
    "machine processes",
    "node2 processes",
    "node2 units",
    "node2:/run/systemd/transient/planted.service",
  ];
  put(textSecret("planted argument", argument), ...ofUnit);
  put(textSecret("planted environment", environment), ...ofUnit);
  await cluster.onHost(
    "node2",
    `systemd-run --quiet --unit=planted --description=planted --setenv=KEY=${environment} bash -c 'sleep 300; exit' ${argument}`,
  );
  const onMachine: ChildProcess = spawn("sleep", ["300"], { stdio: "ignore", argv0: `sleep ${base64(`-${token}`)}` });
  expected.push({ where: "machine processes", secret: "planted token" });
  return {
    secrets,
    expected,
    async remove() {
      onMachine.kill();
      cluster.printed.splice(
        cluster.printed.findIndex((printed) => printed.includes(passphrase)),
        1,
      );
      await rm(backup);
      await cluster.onHost("node1", "rm /run/planted /var/lib/plainkube/etcd/planted");
      await cluster.onHost(
        "node2",
        "systemctl stop planted; systemctl reset-failed planted 2>/dev/null; rm /tmp/planted.pem /root/.bash_history /etc/planted",
      );
    },
  };
}

const sorted = (findings: readonly Finding[]): string[] => findings.map((f) => `${f.where}: ${f.secret}`).sort();

/** What a host shows of itself, as docs/security.md's table asks for it. */
async function factsOf(cluster: TestCluster, host: string): Promise<HostFacts> {
  const configs = await cluster.onHost(
    host,
    "cd /etc/plainkube && for f in *.yaml; do printf '%s\\0' \"$f\"; cat \"$f\"; printf '\\0'; done",
  );
  const parts = configs.split("\0");
  const config: Record<string, Record<string, unknown>> = {};
  for (let i = 0; i + 1 < parts.length; i += 2)
    config[(parts[i] ?? "").replace(/\.yaml$/, "")] = parse(parts[i + 1] ?? "");
  const listed = await cluster.onHost(
    host,
    "find /etc/plainkube /var/lib/plainkube/etcd /etc/systemd/system -maxdepth 4 -printf '%p\\t%y %m %u:%g\\n' 2>/dev/null || :",
  );
  const files = Object.fromEntries(
    listed
      .trim()
      .split("\n")
      .map((line) => line.split("\t")),
  );
  const running = await cluster.onHost(
    host,
    "cd /proc && for p in [0-9]*; do case $(readlink $p/exe) in /opt/plainkube/*) tr '\\0' '\\t' <$p/cmdline; echo ;; esac; done 2>/dev/null",
  );
  const flags: Record<string, Record<string, string>> = {};
  for (const line of running.trim().split("\n")) {
    const [program = "", ...args] = line.trim().split("\t");
    const pairs = args.map((arg) => arg.match(/^--([^=]+)=?(.*)$/s)).filter((m) => m !== null);
    flags[program.split("/").at(-1) ?? program] = Object.fromEntries(pairs.map((m) => [m[1] ?? "", m[2] ?? ""]));
  }
  const shown = await cluster.kubectl("get", "--raw", `/api/v1/nodes/${host}/proxy/configz`);
  return { flags, files, config, kubelet: JSON.parse(shown).kubeletconfig };
}

/**
 * The security of a cluster of stack dev that runs, proven from outside; the cluster is as before afterwards. `watch` has seen the
 * machine's processes since before its first `up`, if there is one.
 */
export function securityTests(cluster: () => TestCluster, watch = new ProcessWatch()): void {
  describe("the ports", () => {
    test("that others reach are those of the table", async () => {
      for (const host of cluster().hosts) {
        const listening = (await cluster().onHost(host, "ss -Hltnp")).trim().split("\n");
        const open = listening
          .map((line) => line.match(/^\S+\s+\d+\s+\d+\s+(\S+):(\d+)\s.*users:\(\("([^"]+)"/))
          .filter((m) => m !== null && !/^(127\.0\.0\.1|\[::1\])$/.test(m[1] ?? ""))
          .map((m) => `${m?.[2]} ${m?.[3]}`)
          .filter((socket) => socket !== "22 sshd");
        const expected = openPorts.filter(({ on }) => on !== "control-plane" || host === controlPlane);
        assert.deepEqual([...new Set(open)].sort(), expected.map((p) => `${p.port} ${p.program}`).sort(), host);
      }
    });

    test("speak TLS 1.2 and 1.3 with strong ciphers, and no less", async () => {
      const result = await runOnHost(cluster().instance, controlPlane, "bash -s", { input: tlsScript });
      assert.equal(result.code, 0, result.stderr);
      const strict = { tls1: "", tls1_1: "", tls1_2: "yes", tls1_3: "yes", weak: "" };
      const ports = ["2379", "2380", "6443", "10250", "10257", "10259"];
      // A server that takes everything shows that a client could offer it.
      const lax = { tls1: "yes", tls1_1: "yes", tls1_2: "yes", tls1_3: "yes", weak: "yes" };
      const expected = [...ports.map((port) => [port, strict] as const), ["lax", lax] as const];
      const lines = expected.flatMap(([name, is]) => Object.entries(is).map(([what, got]) => `${name} ${what} ${got}`));
      assert.deepEqual(result.stdout.trimEnd().split("\n"), lines);
    });

    test("of etcd take clients of its own authority alone", async () => {
      const [ca, cert, key] = etcdClient;
      const other = ["apiserver-kubelet-client.crt", "apiserver-kubelet-client.key"];
      const ask = (url: string, certificate = "") =>
        runOnHost(
          cluster().instance,
          controlPlane,
          `cd ${pki} && curl -sS --http1.1 --tls-max 1.2 --cacert ${ca} ${certificate} ${url}`,
        );
      for (const port of [2379, 2380]) {
        const path = port === 2379 ? "/health" : "/version";
        const own = await ask(`https://${address}:${port}${path}`, `--cert ${cert} --key ${key}`);
        assert.equal(own.code, 0, own.stderr);
        assert.match(own.stdout, /"health":"true"|"etcdserver"/);
        for (const wrong of ["", `--cert ${other[0]} --key ${other[1]}`]) {
          const refused = await ask(`https://${address}:${port}${path}`, wrong);
          assert.notEqual(refused.code, 0, `${port} answered ${wrong || "a client without a certificate"}`);
          assert.match(refused.stderr, /alert (bad certificate|unknown ca|handshake failure)/i);
        }
      }
    });

    test("answer anonymous requests about health, and no others", async () => {
      for (const [url, paths] of Object.entries(anonymous)) {
        const asked = Object.keys(paths).map((path) => `curl -sk -o /dev/null -w '%{http_code}\\n' ${url}${path} || :`);
        const statuses = (await cluster().onHost(controlPlane, asked.join("; "))).trim().split("\n");
        assert.deepEqual(Object.fromEntries(Object.keys(paths).map((path, i) => [path, statuses[i]])), paths, url);
      }
    });
  });

  describe("the certificates", () => {
    test("say what they are for, and no more", async () => {
      const certificates = [...certificatesOf(await exportedState(cluster()))].sort(([a], [b]) => (a < b ? -1 : 1));
      const described = await Promise.all(certificates.map(([name, pem]) => describeCertificate(name, pem)));
      await assertGolden("certificates", { "dev.txt": `${described.join("\n")}\n` });
    });

    test("on the hosts are those of the state", async () => {
      const made = new Set([...certificatesOf(await exportedState(cluster())).values()].map((pem) => pem.trim()));
      for (const host of cluster().hosts) {
        const text = await cluster().onHost(
          host,
          `find ${pki} -name '*.crt' -exec cat {} +; sed -n 's/.*certificate.*-data: //p' /etc/plainkube/kubeconfig/*.yaml | while read -r d; do base64 -d <<<"$d"; done`,
        );
        const found = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
        assert.ok(found.length > 5, `${found.length} certificates on ${host}`);
        for (const pem of found) assert.ok(made.has(pem), `a certificate on ${host} that is not of the state`);
      }
    });
  });

  describe("the units", () => {
    test("are no more exposed than the table says", async () => {
      const asked = Object.keys(exposures).map(
        (unit) => `systemd-analyze security --no-pager ${unit}.service | tail -1`,
      );
      const lines = (await cluster().onHost(controlPlane, asked.join("; "))).trim().split("\n");
      for (const [i, [unit, bound]] of Object.entries(exposures).entries()) {
        const [, level] = lines[i]?.match(new RegExp(`for ${unit}\\.service: ([0-9.]+) `)) ?? [];
        assert.ok(Number(level) <= bound, `${unit}: got exposure ${level}, expected ${bound} at most`);
      }
    });

    test("are confined by the kernel: no capability but the network's, no way to more", async () => {
      for (const unit of ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"]) {
        const status = await cluster().onHost(
          controlPlane,
          `cat /proc/$(systemctl show --property MainPID --value ${unit})/status`,
        );
        const field = (name: string) => status.match(new RegExp(`^${name}:\\s+(\\S+)`, "m"))?.[1] ?? "";
        // CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_SYS_MODULE 16, CAP_SYS_RESOURCE 24.
        const most = unit === "kube-proxy" ? (1n << 12n) | (1n << 13n) | (1n << 16n) | (1n << 24n) : 0n;
        for (const set of ["CapEff", "CapBnd"])
          assert.equal(BigInt(`0x${field(set)}`) & ~most, 0n, `${unit} ${set}: got ${field(set)}`);
        assert.deepEqual([field("NoNewPrivs"), field("Seccomp")], ["1", "2"], unit);
      }
    });

    test("see no keys but their own", async () => {
      const readable = (unit: string, path: string) =>
        cluster().onHost(
          controlPlane,
          `nsenter --mount --target $(systemctl show --property MainPID --value ${unit}) sh -c 'cat ${path} >/dev/null 2>&1 && test -s ${path} && echo yes || echo no'`,
        );
      assert.equal(await readable("etcd", `${pki}/etcd/server.key`), "yes\n");
      assert.equal(await readable("kube-apiserver", `${pki}/sa.key`), "yes\n");
      for (const path of [`${pki}/ca.key`, `${pki}/sa.key`, "/etc/plainkube/encryption.yaml", "/etc/shadow"])
        assert.equal(await readable("etcd", path), "no\n", `etcd: ${path}`);
      for (const path of [`${pki}/ca.key`, `${pki}/etcd/server.key`, "/etc/plainkube/encryption.yaml"])
        assert.equal(await readable("kube-scheduler", path), "no\n", `scheduler: ${path}`);
    });
  });

  describe("the CIS benchmark's table", () => {
    test("is what the running hosts show", async () => {
      const wrong: string[] = [];
      for (const host of cluster().hosts) {
        const facts = await factsOf(cluster(), host);
        const rows = cisRows.filter(({ id }) => host === controlPlane || id.startsWith("4."));
        const broken = (row: CisRow) => row.holds !== undefined && !row.holds(facts);
        wrong.push(
          ...rows.filter(broken).map(({ id, what, state }) => `${host}: ${id} ${what} is not as said (${state})`),
        );
      }
      assert.deepEqual(wrong, []);
    });
  });

  // Without the engine it is tried in tests/plugin/host-key.test.ts.
  if (isLongRun) {
    describe("a changed host key", () => {
      test("is refused with what was got, what was expected and what to do, on both ways to a host", () =>
        trial("faults", async () => {
          const lab = cluster();
          const known = join(lab.instance.directory, "known_hosts_changed");
          const kept = "/run/host-key-before";
          const reload = "systemctl reload ssh";
          const oldKey = (await lab.onHost("node2", "cat /etc/ssh/ssh_host_ed25519_key.pub")).trim();
          const newPublic = await lab.onHost(
            "node2",
            `mkdir ${kept} && cd /etc/ssh && mv ssh_host_ed25519_key ssh_host_ed25519_key.pub ${kept} && ssh-keygen -q -t ed25519 -N '' -C changed -f ssh_host_ed25519_key && cat ssh_host_ed25519_key.pub && ${reload}`,
          );
          const fingerprint = async (key: string) =>
            (await must(["ssh-keygen", "-lf", "-"], { input: key })).split(" ")[1] ?? "";
          const [got, expected] = [await fingerprint(newPublic), await fingerprint(oldKey)];
          await writeFile(known, `10.90.23.42 ${newPublic.split(" ").slice(0, 2).join(" ")}\n`);
          try {
            await lab.stack.configure({ ...lab.config, "plainkube:overrides": { kubeProxy: { flags: { v: 1 } } } });
            const byPlugin = await lab.failingUp();
            const exported = JSON.parse(await exportedState(lab)).deployment.resources as { urn: string }[];
            const urn = exported.find((r) => r.urn.endsWith("::node2-binaries-rest"))?.urn ?? "";
            const byUpload = await lab.failingUp("--target-replace", urn);
            for (const [way, said] of Object.entries({ byPlugin, byUpload })) {
              for (const part of ["10.90.23.42:22", got, expected, "knownHostsFile", "installed anew"])
                assert.ok(said.includes(part), `${way}: ${part} is missing in\n${said}`);
              assert.doesNotMatch(said, /ssh-keygen -f|@@@@/, `${way}: advice about a file that is gone`);
            }
          } finally {
            const changed = { ...lab.instance, knownHostsFile: known };
            const back = await runOnHost(changed, "node2", `mv ${kept}/* /etc/ssh/ && rmdir ${kept} && ${reload}`);
            assert.equal(back.code, 0, back.stderr);
            await rm(known);
            await lab.stack.configure(lab.config);
          }
          await lab.up();
        }));
    });
  }

  describe("secrets", () => {
    test("are nowhere but in the files of root that need them; what is planted is found", async () => {
      const lab = cluster();
      const { directory } = lab.instance;
      const secretValue = randomBytes(24).toString("base64url");
      const secret = {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "looked-for" },
        stringData: { value: secretValue },
      };
      await must([...(await lab.kubectlCommand()), "create", "-f", "-"], { input: JSON.stringify(secret) });
      const token = await lab.kubectl("create", "token", "default");
      const flags = { v: 1 };
      const changed = { kubeApiserver: { flags }, kubelet: { flags }, kubeControllerManager: { flags } };
      await lab.stack.configure({ ...lab.config, "plainkube:overrides": changed });
      assert.match(await lab.pulumi("preview", "--diff"), /--v=1/);
      await lab.stack.configure(lab.config);
      const passphrase = await readFile(join(directory, "passphrase"), "utf8");
      const real = [
        ...secretsOfState(await exportedState(lab)),
        textSecret("passphrase", passphrase),
        textSecret("token of a ServiceAccount", token.split(".")[2]?.trim() ?? ""),
        textSecret("value of a Secret", secretValue),
      ];
      const names = new Set(real.map(({ name }) => name));
      const expectedNames = [
        ...Object.values(keysOnHosts),
        "pki-etcd-ca-key",
        "pki-front-proxy-ca-key",
        "pki-admin-key",
      ];
      const shipments = ["node1-control-plane-shipment", "node1-node", "node2-node"];
      const others = ["SSH key", "passphrase", "token of a ServiceAccount", "value of a Secret"].concat(
        shipments.map((name) => `${name}-apply, packed`),
      );
      assert.deepEqual([...names].sort(), [...new Set([...expectedNames, ...others])].sort());
      assert.ok(
        watch.seen.some((seen) => seen.startsWith("bash\0-s\0--\0")),
        "no script was seen at work on a host",
      );

      const planted = await plant(lab);
      let findings: Finding[] = [];
      try {
        watch.sample();
        const home = [".bash_history", ".node_repl_history", ".ssh", ".kube", ".npm/_logs", ".pulumi"];
        const { PULUMI_HOME = "" } = lab.stack.environment;
        const directories = [
          directory,
          PULUMI_HOME,
          "/tmp",
          "/var/tmp",
          "/var/log",
          ...home.map((f) => join(homedir(), f)),
        ];
        findings = await search(lab, [...real, ...planted.secrets], {
          directories: directories.filter((path) => existsSync(path)),
          texts: { output: lab.printed, processes: watch.seen },
        });
      } finally {
        await planted.remove();
        await lab.kubectl("delete", "secret", "looked-for");
      }
      const isPlanted = new Set(planted.secrets.map(({ name }) => name));
      assert.deepEqual(sorted(findings.filter((f) => isPlanted.has(f.secret))), sorted(planted.expected));

      const places = findings.filter((f) => !isPlanted.has(f.secret));
      // The Kubernetes plugin's copy of the administrator's kubeconfig, and the tests'.
      const ours = (f: Finding) =>
        (f.secret === "passphrase" && f.where === `machine:${directory}/passphrase`) ||
        (f.secret === "pki-admin-key" &&
          (f.where === `machine:${directory}/kubeconfig` || f.where.startsWith(`machine:${directory}/tmp/`)));
      for (const { where } of places.filter(ours)) {
        const { mode } = await stat(where.replace("machine:", ""));
        assert.equal(mode & 0o77, 0, `${where} is open to others: ${mode.toString(8)}`);
      }
      const rest = places.filter((f) => !ours(f));
      const leaks = rest.filter((f) => keysOnHosts[f.where] !== f.secret);
      const leaked = new Set(leaks.map((f) => f.secret));
      noteFigures("secrets", names.size, names.size - leaked.size);
      assert.deepEqual(sorted(leaks), [], "secrets where they must not be");
      const expected = Object.entries(keysOnHosts).map(([where, secret]) => ({ where, secret }));
      assert.deepEqual(sorted(rest), sorted(expected), "the keys of each host");
      for (const host of lab.hosts) {
        const files = expected.filter((f) => f.where.startsWith(`${host}:`)).map((f) => f.where.slice(host.length + 1));
        const modes = await lab.onHost(host, `stat -c '%a %U:%G' ${files.join(" ")} | sort -u`);
        assert.equal(modes, "600 root:root\n", host);
        const dumps = await lab.onHost(
          host,
          "find / -xdev -name 'core*' -type f -newer /etc/machine-id -size +1M; ls -A /var/lib/systemd/coredump 2>/dev/null || :",
        );
        assert.equal(dumps, "", `core dumps on ${host}`);
      }
    });
  });
}
