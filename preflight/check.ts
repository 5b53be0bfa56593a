import { fingerprint } from "../components/host/host-key.ts";
import { planOf } from "../components/host/plan.ts";
import { hostScript } from "../components/host/script.ts";
import { sshTarget, withSsh } from "../components/host/ssh.ts";
import type { ClusterSpec, HostSpec, Problem } from "../components/spec.ts";
import { run } from "../lab/shell.ts";
import { describeProblem, sameMachines } from "./report.ts";

/** What was found on a host. */
export interface HostReport {
  readonly host: HostSpec;
  /** What it said of itself when it was ready. */
  readonly said: string;
  /** Each as the report shows it. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

const noSession = ({ address, port }: HostSpec): Omit<Problem, "got"> => ({
  what: "SSH",
  expected: `a session at ${address}:${port}`,
  remedy: "see that the host is on, that sshd runs and no firewall is in between; correct address, port or ssh.jump",
});

/** SSH's own words for why there is no session, and what that comes to. Else: `noSession`. */
const refusals: readonly [RegExp, (host: HostSpec, said: string) => Omit<Problem, "got"> & { got?: string }][] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|No \S+ host key is known/i,
    ({ address, hostKey }, said) => ({
      what: "host key",
      got: /SHA256:[\w+/]+/.exec(said)?.[0] ?? "one of another type",
      expected: `${fingerprint(hostKey)}, which is pinned`,
      remedy: `find out why (the host was installed anew, or it is another machine), compare with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the host's console, then pin the new key for ${address}`,
    }),
  ],
  [
    /sudo: /,
    ({ user }) => ({
      what: "sudo",
      expected: `that ${user} may run commands as root without a password`,
      remedy: `allow it ('${user} ALL=(ALL) NOPASSWD: ALL' in /etc/sudoers.d), or set user to root`,
    }),
  ],
  [
    /Permission denied|Too many authentication failures|incorrect passphrase|error in libcrypto|bad permissions/i,
    ({ user }) => ({
      what: "login",
      expected: `a session as ${user}`,
      remedy: `put the key's public half into ~${user}/.ssh/authorized_keys on the host, or correct user, ssh.privateKeyFile and ssh.privateKeyPassword`,
    }),
  ],
];

/** What came from a host, as text that only shows. */
const visible = (text: string): string => text.replace(/[^\P{Cc}\n]/gu, " ");

/** The entries of the report that the script has written: all of one shape. */
const entries = (text: string): string[] =>
  visible(text).match(/^ {2}\S.*\n {4}got: {6}.*\n {4}expected: .*\n {4}remedy: {3}.*$/gm) ?? [];

/** Runs preflight.sh on a host. A host that cannot be asked is a problem like others. */
async function ask(spec: ClusterSpec, host: HostSpec, cluster: string): Promise<HostReport> {
  const script = hostScript({ spec, host, ...planOf(spec, host) }, cluster, "preflight");
  const now = String(Math.floor(Date.now() / 1000));
  // Somebody waits for the answer.
  const target = { ...sshTarget(spec, host), dialAttempts: 1 };
  const { code, stdout, stderr } = await withSsh(
    target,
    spec.ssh.privateKeyPassword ?? "",
    `exec bash -s -- preflight ${now}`,
    ({ program, args, env }) => run([program, ...args], { input: script, env, timeoutSeconds: 120 }),
  );
  const found = entries(stderr);
  const warnings = found.filter((entry) => entry.startsWith("  warning: "));
  const problems = found.filter((entry) => !warnings.includes(entry));
  if (code === 0) return { host, said: stdout, problems: [], warnings };
  if (problems.length > 0) return { host, said: "", problems, warnings };
  const text = visible(stderr);
  const got =
    text
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean)
      .slice(-3)
      .join("; ") || `nothing (ssh ended with ${code})`;
  // By the name under which ssh knows it: its trouble is told as its own, not as the host's.
  if (target.jump && /(Host key for|key is known for|[\w.-]+@)\s*jump\b/.test(text)) {
    const { host: address, port } = target.jump;
    const problem = {
      what: "jump host",
      got,
      expected: `a session at ${address}:${port} by the pinned key ${fingerprint(target.jump.hostKey)}`,
      remedy: "correct ssh.jump: its address, user and hostKey; find out why before you pin another key",
    };
    return { host, said: "", problems: [describeProblem(problem)], warnings };
  }
  const [, describe] = refusals.find(([pattern]) => pattern.test(text)) ?? [/./, noSession];
  return { host, said: "", problems: [describeProblem({ got, ...describe(host, text) })], warnings };
}

/** Looks at all hosts beside each other. `cluster` tells this stack's cluster from others; "" before the first `up`. Changes nothing. */
export async function checkHosts(spec: ClusterSpec, cluster: string): Promise<HostReport[]> {
  const reports = await Promise.all(spec.hosts.map((host) => ask(spec, host, cluster)));
  const twins = sameMachines(reports.map(({ host: { name, address }, said }) => ({ name, address, said })));
  return reports.map((report) => ({
    ...report,
    problems: [
      ...report.problems,
      ...twins.filter(({ host }) => host === report.host.name).map((twin) => describeProblem(twin)),
    ],
  }));
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

/** The report of all hosts as text, with the sum in its last line. */
export function describeReports(reports: readonly HostReport[]): string {
  const parts = reports.map(({ host, problems, warnings }) => {
    const summary = [
      problems.length > 0 ? count(problems.length, "problem") : "ready",
      ...(warnings.length > 0 ? [count(warnings.length, "warning")] : []),
    ];
    return [`${host.name} (${host.address}): ${summary.join(", ")}`, ...problems, ...warnings].join("\n");
  });
  const sum = (of: "problems" | "warnings") => reports.reduce((all, report) => all + report[of].length, 0);
  const unready = reports.filter(({ problems }) => problems.length > 0).length;
  const all = count(reports.length, "host");
  const verdict =
    unready > 0
      ? `${count(sum("problems"), "problem")} on ${unready} of ${all}; nothing was changed. Correct them, then run this again, or 'pulumi up'.`
      : `${all} ready.`;
  const noted = sum("warnings") > 0 ? ` ${count(sum("warnings"), "warning")}.` : "";
  return `${parts.join("\n")}\n${verdict}${noted}`;
}
