import assert from "node:assert/strict";
import { runOnHost } from "../../lab/instance.ts";
import { type CommandResult, run, sleep } from "../../lab/shell.ts";
import type { TestCluster } from "./harness.ts";

/** Something that is taken away from a host: a word of a unit file, a unit, or a file of the system's folder. */
export interface Removal {
  readonly host: string;
  /** Like `kube-apiserver --etcd-servers`, `unit etcd` or `file /opt/k8s/etcd`. */
  readonly what: string;
  /** Units that are restarted without it. */
  readonly users: readonly string[];
  /** Shell commands that take it away, and that put it back. */
  readonly take: string;
  readonly restore: string;
}

/** How a check ended; `seconds` counts from its start. */
export interface Outcome {
  readonly works: boolean;
  readonly seconds: number;
  /** Why it does not work. */
  readonly why: string;
}

/** What a unit runs, as the host has it. */
interface UnitFile {
  readonly name: string;
  readonly content: string;
  /** What its commands name, and the files that it finds by itself. */
  readonly words: ReadonlySet<string>;
}

/** The units of the system on each host. */
const workerUnits = ["plainkube-containerd", "kubelet", "kube-proxy", "plainkube-routes"];
export const minimalUnits = {
  node1: ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", ...workerUnits],
  node2: workerUnits,
};

/** Without one of these there is no API. */
const serving = ["etcd", "kube-apiserver"];
/** They wait for a lease of their name before they work. */
const leaders = ["kube-controller-manager", "kube-scheduler"];

const folder = "/opt/k8s";
const unitPath = (unit: string) => `/etc/systemd/system/${unit}.service`;
const aside = "/var/lib/plainkube/taken";

/** A unit's content without one word of one of its commands, or without a whole line. */
function* reduced({ name, content }: UnitFile): Generator<{ what: string; content: string }> {
  const lines = content.split("\n");
  for (const [i, line] of lines.entries()) {
    const without = (words: string[]) => [...lines.slice(0, i), ...words, ...lines.slice(i + 1)].join("\n");
    if (/^ +--/.test(line)) {
      // The last line of a command has no backslash; an empty one ends it as well.
      const flag = line.trim().replace(/[= ].*/, "");
      yield { what: `${name} ${flag}`, content: without(line.endsWith("\\") ? [] : [""]) };
      continue;
    }
    const command = /^Exec(?:Start|StartPost)=/.test(line) ? line : "";
    for (const flag of command.split(" ").filter((word) => word.startsWith("--"))) {
      yield { what: `${name} ${flag} of ${line}`, content: without([line.replace(` ${flag}`, "")]) };
    }
    const isOneOfMany = /^(ExecStartPost|Environment)=/.test(line) || /^ExecStart=ip /.test(line);
    if (isOneOfMany) yield { what: `${name} ${line}`, content: without([]) };
  }
}

/** Takes parts of a running cluster away, one at a time, and looks whether it still does its work. */
export class Removals {
  readonly #cluster: TestCluster;
  #kubectl: readonly string[] = [];
  #count = 0;
  /** Units → how long the untouched system takes after their restart; a broken one is given three times as long. */
  readonly #controls = new Map<string, number>();

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
  }

  /** To be called first. */
  async open(): Promise<void> {
    this.#kubectl = await this.#cluster.kubectlCommand();
  }

  /** Everything that can be taken away: each flag of each unit, each unit, each file. What is the same on two hosts counts once. */
  async all(): Promise<Removal[]> {
    const found = new Map<string, Removal>();
    // A worker first, so that what is on both is taken from the one that holds no control plane.
    for (const host of this.#cluster.hosts.toReversed()) {
      const units = await this.#units(host);
      const put = (id: string, removal: Omit<Removal, "host">) => {
        const key = `${id} ${removal.what} ${removal.users.join()}`;
        if (!found.has(key)) found.set(key, { host, ...removal });
      };
      for (const unit of units) {
        const path = unitPath(unit.name);
        // A server without --cert-dir makes a certificate of its own in /run/kubernetes.
        const restore = `mv ${aside} ${path}; systemctl daemon-reload; rm -rf /run/kubernetes`;
        for (const { what, content } of reduced(unit)) {
          const write = `cp ${path} ${aside}; base64 -d <<<${Buffer.from(content).toString("base64")} >${path}`;
          put(unit.content, { what, users: [unit.name], take: `${write}; systemctl daemon-reload`, restore });
        }
        const take = `systemctl stop ${unit.name}; mv ${path} ${aside}; systemctl daemon-reload`;
        put(unit.content, {
          what: `unit ${unit.name}`,
          users: [],
          take,
          restore: `${restore}; systemctl start ${unit.name}`,
        });
      }
      for (const { path, content } of await this.#files(host)) {
        const users = units.filter((u) => u.words.has(path)).map((u) => u.name);
        const take = `mv ${path} ${aside}`;
        put(content, { what: `file ${path}`, users: users.sort(), take, restore: `mv ${aside} ${path}` });
      }
    }
    return [...found.values()].sort((a, b) => order(a) - order(b));
  }

  async #units(host: string): Promise<UnitFile[]> {
    const names = this.#cluster.units[host] ?? [];
    return Promise.all(
      names.map(async (name) => {
        const content = await this.#cluster.onHost(host, `cat ${unitPath(name)}`);
        const whole = content.replaceAll("\\\n", " ");
        const commands = [...whole.matchAll(/^Exec(?:Start|StartPost)=(.*)$/gm)].map((m) => m[1] ?? "");
        return { name, content, words: new Set([...commands.join(" ").split(/[ =]+/), ...implied(name)]) };
      }),
    );
  }

  /** What lies in the folder by name; the store behind the links and etcd's data are not placed there by name. */
  async #files(host: string): Promise<{ path: string; content: string }[]> {
    const script = `cd ${folder}; for f in *; do [ -d "$f" ] || echo "${folder}/$f $(readlink "$f" || sha256sum <"$f" | cut -c1-64)"; done`;
    const lines = (await this.#cluster.onHost(host, script)).trim().split("\n");
    return lines.map((line) => {
      const [path = "", content = ""] = line.split(" ");
      return { path, content };
    });
  }

  /**
   * The fixed check: a new Deployment with a pod on each host and a Service, reached from each host; nobody who does not say
   * who he is gets anything. Ends after so many seconds, or at the first sign that it will not pass, which `sign` may see too.
   */
  async check(seconds: number, sign?: () => string): Promise<Outcome> {
    const began = performance.now();
    const left = () => seconds - (performance.now() - began) / 1000;
    const end = (why: string): Outcome => ({ works: why === "", why, seconds: (performance.now() - began) / 1000 });
    const name = `check-${++this.#count}`;
    try {
      let made: CommandResult;
      do {
        made = await this.#ask(
          ["create", "--filename=-", "--output=jsonpath={.spec.clusterIP}", "--validate=false"],
          left(),
          manifest(name),
        );
        if (made.code !== 0 && (isRefusal(made.stderr) || left() <= 0))
          return end(lastLine(made.stderr) || "the API does not answer");
        const seen = sign?.() ?? "";
        if (seen !== "") return end(seen);
        if (made.code !== 0) await sleep(200);
      } while (made.code !== 0);
      const address = made.stdout.trim();
      const pending = new Map(this.#cluster.hosts.map((host) => [host, ""]));
      const state = { stop: false };
      const asked = this.#cluster.hosts.map(async (host) => {
        const script = probe(address, this.#cluster.hosts, Math.max(1, Math.ceil(left())));
        const result = await runOnHost(this.#cluster.instance, host, "bash -s", { input: script });
        if (result.code === 0) pending.delete(host);
        else pending.set(host, lastLine(result.stderr) || `ended with ${result.code}`);
        return result.code === 0;
      });
      const all = Promise.all(asked).then((answers) => {
        state.stop = true;
        return answers;
      });
      while (!state.stop) {
        await Promise.race([all, sleep(500)]);
        if (state.stop) break;
        const seen = sign && (sign() || (await this.#complaint(name)));
        if (seen) return end(seen);
      }
      const answers = await all;
      return end(answers.every(Boolean) ? "" : [...pending].map(([host, why]) => `${host}: ${why}`).join("; "));
    } finally {
      await this.#ask(["delete", "deployment,service", name, "--wait=false", "--ignore-not-found"], 5);
    }
  }

  #ask(args: readonly string[], seconds: number, input?: string): Promise<CommandResult> {
    const limit = Math.max(1, Math.ceil(seconds));
    return run([...this.#kubectl, `--request-timeout=${limit}s`, ...args], {
      timeoutSeconds: limit + 1,
      ...(input !== undefined && { input }),
    });
  }

  /** An event that says why a pod of the check cannot start. */
  async #complaint(name: string): Promise<string> {
    const path = "jsonpath={range .items[*]}{.reason} {.involvedObject.name} {.message}{'\\n'}{end}";
    const { stdout } = await this.#ask(["get", "events", "-o", path], 3);
    const fatal = /^(FailedCreatePodSandBox|Failed|InspectFailed|ErrImageNeverPull) /;
    const line = stdout.split("\n").find((l) => fatal.test(l) && l.includes(` ${name}-`));
    return line === undefined ? "" : line.replace(/ check-\S+/, "");
  }

  /** The untouched system: how long it takes to restart these units and to pass the check. */
  async control(host = "", users: readonly string[] = []): Promise<number> {
    const began = performance.now();
    await this.#restart(host, users);
    const { works, why } = await this.check(60);
    assert.ok(works, `the untouched system does not work: ${why}`);
    return (performance.now() - began) / 1000;
  }

  async #bound(host: string, users: readonly string[]): Promise<number> {
    const key = users.join();
    const seconds = this.#controls.get(key) ?? (await this.control(host, users));
    this.#controls.set(key, seconds);
    return 3 * seconds;
  }

  /** Takes one part away, and tells how the system breaks; then puts it back, and the check has to pass again. */
  async without(removal: Removal, checkAgain = true): Promise<Outcome> {
    const { host, users, take, restore } = removal;
    const bound = await this.#bound(host, users);
    await this.#cluster.onHost(host, `set -e; ${forgetImages(users)} ${take}`);
    let broken: Outcome;
    try {
      broken = await this.#watched(host, users, bound);
    } finally {
      await this.#cluster.onHost(host, `set -e; ${restore}`);
      await this.#restart(host, users);
      await this.#settle(/^(unit )?(etcd|kube-apiserver)/.test(removal.what) || users.some((u) => serving.includes(u)));
    }
    if (checkAgain) {
      const again = await this.check(60);
      assert.ok(again.works, `with ${removal.what} on ${host} put back, it still does not work: ${again.why}`);
    }
    return broken;
  }

  /** The check, with an eye on the units that were restarted: one that does not run breaks as its own removal does. */
  async #watched(host: string, users: readonly string[], bound: number): Promise<Outcome> {
    const began = performance.now();
    const ids = `for u in ${users.join(" ")}; do systemctl show --property InvocationID --value "$u"; done`;
    const script = users.length > 0 ? `timeout ${Math.ceil(bound)} ${restart(users)}; ${ids}` : "";
    const { stdout } = await runOnHost(this.#cluster.instance, host, script);
    const runs = stdout.split("\n");
    let dead = await this.#reason(host, users, runs);
    if (dead !== "") return { works: false, why: dead, seconds: (performance.now() - began) / 1000 };
    const state = { stop: false };
    const watch = async () => {
      while (!state.stop && dead === "" && users.length > 0) {
        dead = await this.#reason(host, users, runs);
        await sleep(200);
      }
    };
    const watching = watch();
    try {
      const { works, why } = await this.check(bound - (performance.now() - began) / 1000, () => dead);
      return { works, why, seconds: (performance.now() - began) / 1000 };
    } finally {
      state.stop = true;
      await watching;
    }
  }

  /** Why a unit has ended since it was restarted, or nothing. */
  async #reason(host: string, users: readonly string[], runs: readonly string[]): Promise<string> {
    if (users.length === 0) return "";
    const script = `for run in ${users.map((u, i) => `${u}=${runs[i]}`).join(" ")}; do
      u=\${run%%=*}
      case $(systemctl show --property SubState --value "$u") in failed | auto-restart*) ;; *)
        [ "$(systemctl show --property InvocationID --value "$u")" != "\${run#*=}" ] || continue ;;
      esac
      echo "$u ends: $(journalctl --no-pager --quiet --output=cat --lines=40 --unit "$u" | grep -vE '^(.*: (Main process|Failed with|Scheduled|Control process|Unit process|Found left-over)|This usually|Start|Stop|Failed to start|goroutine|$)' | tail -1 | cut -c1-300)"
    done`;
    const { stdout } = await runOnHost(this.#cluster.instance, host, script);
    return stdout.split("\n")[0] ?? "";
  }

  async #restart(host: string, users: readonly string[]): Promise<void> {
    if (users.length === 0) return;
    const led = users.filter((unit) => leaders.includes(unit));
    // Its lease is taken from it when it cannot renew it any more.
    if (led.length > 0) {
      await this.#cluster.onHost(host, `systemctl stop ${led.join(" ")}`);
      await this.#releaseLeases();
    }
    await this.#cluster.onHost(host, restart(users));
  }

  /** A new controller manager or scheduler would wait 15 s for the lease of the one before. */
  async #releaseLeases(): Promise<void> {
    await this.#ask(["delete", "lease", "-n", "kube-system", ...leaders, "--ignore-not-found"], 3);
  }

  /** Waits until the API answers and all nodes are Ready again. */
  async #settle(apiWasAway: boolean): Promise<void> {
    for (const deadline = Date.now() + 60_000; ; await sleep(200)) {
      const waited = await this.#ask(["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s"], 30);
      if (waited.code === 0) break;
      assert.ok(Date.now() < deadline, `the nodes are not Ready again: ${waited.stderr}`);
    }
    if (!apiWasAway) return;
    // Clients wait ever longer before they ask an API again that was away.
    const clients = [...leaders, "kubelet", "kube-proxy"];
    const hosts = Object.entries(this.#cluster.units).map(([host, units]) => ({
      host,
      users: clients.filter((unit) => units.includes(unit)),
    }));
    await Promise.all(hosts.map(({ host, users }) => this.#restart(host, users)));
  }
}

/** Without waiting for an API server that waits for its clients. */
const restart = (users: readonly string[]): string =>
  `sh -c '${users.includes("kube-apiserver") ? "systemctl kill --kill-whom=main --signal=KILL kube-apiserver;" : ""} systemctl restart ${users.join(" ")}'`;

/** Which unit looks for a file that no command line names. */
const implied = (unit: string): string[] =>
  ({
    "kube-apiserver": [`${folder}/apiserver.crt`, `${folder}/apiserver.key`],
    "plainkube-containerd": ["containerd-shim-runc-v2", "runc", "bridge.conf"].map((name) => `${folder}/${name}`),
  })[unit] ?? [];

/** What was imported once would hide that it cannot be imported again. */
const forgetImages = (users: readonly string[]): string =>
  users.includes("plainkube-containerd")
    ? `${folder}/ctr --namespace k8s.io images list --quiet | xargs --no-run-if-empty ${folder}/ctr --namespace k8s.io images remove --sync >/dev/null;`
    : "";

/** The workers' parts first; units last, as their removal takes longest. */
const order = ({ what, host }: Removal): number => (what.startsWith("unit ") ? 2 : 0) + (host === "node1" ? 1 : 0);

const lastLine = (text: string): string => text.trim().split("\n").at(-1)?.slice(0, 300) ?? "";

/** An answer, and not the lack of one. */
const isRefusal = (stderr: string): boolean => /Unauthorized|logged in|x509|Forbidden|certificate/i.test(stderr);

function manifest(name: string): string {
  const labels = { app: name };
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 0,
          dnsPolicy: "Default",
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: "kubernetes.io/hostname",
              whenUnsatisfiable: "DoNotSchedule",
              labelSelector: { matchLabels: labels },
            },
          ],
          containers: [
            {
              name: "workload",
              image: "plainkube.local/workload:1.0.0",
              imagePullPolicy: "IfNotPresent",
              env: [{ name: "NODE_NAME", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } }],
            },
          ],
        },
      },
    },
  };
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
  };
  return JSON.stringify({ apiVersion: "v1", kind: "List", items: [deployment, service] });
}

/** Asks the Service until pods on all nodes have answered; then for what nobody may get without saying who he is. */
const probe = (address: string, nodes: readonly string[], seconds: number): string => `
deadline=$((SECONDS + ${seconds})) seen=
for node in ${nodes.join(" ")}; do
  until [[ $seen = *"\\"$node\\""* ]]; do
    [ $SECONDS -lt $deadline ] || { echo "no answer from a pod on $node" >&2; exit 1; }
    seen+=$(curl -sS --max-time 1 http://${address} 2>&1)
    sleep 0.05
  done
done
for url in https://10.90.23.41:6443/api https://10.90.23.41:10250/pods https://10.90.23.42:10250/pods; do
  code=$(curl -sk --max-time 3 -o /dev/null -w '%{http_code}' $url)
  [ "$code" = 401 ] || { echo "$url answers $code to nobody" >&2; exit 1; }
done
for host in 10.90.23.41 10.90.23.42; do
  if curl -s --max-time 3 -o /dev/null http://$host:10255/pods; then echo "$host:10255 answers nobody" >&2; exit 1; fi
done
`;

/** A removal as a line of a report. */
export const reportLine = ({ host, what }: Removal, { works, seconds, why }: Outcome): string =>
  `${works ? "works" : "broken"} after ${seconds.toFixed(1)} s without ${what} on ${host}${why && `: ${why}`}`;
