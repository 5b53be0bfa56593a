/**
 * The script that ships files and restarts units, run for real on files; systemd is a stand-in (see sandbox.ts), so these
 * tests prove what is asked of systemd, not that units work.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { lstatSync, mkdirSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { unpacked } from "../../components/host/pack.ts";
import { type HostFile, type Payload, phaseScript, type Unit } from "../../components/host/shipment.ts";
import { Sandbox } from "./sandbox.ts";

const units = "/etc/systemd/system";
const unitFile = (name: string, text = "x"): HostFile => ({
  path: `${units}/${name}`,
  content: `[Service]\n#${text}\n`,
});
const a: Unit = { name: "a.service", inputs: ["/etc/plainkube/a.yaml", "/opt/plainkube/bin/a"] };
const b: Unit = { name: "b.service", inputs: ["/etc/plainkube/b.key"] };
const base: Payload = {
  files: [unitFile("a.service"), unitFile("b.service"), { path: "/etc/plainkube/a.yaml", content: "a: 1\n" }],
  units: [a, b],
};
const secrets: HostFile[] = [{ path: "/etc/plainkube/b.key", content: "not a key\nsecond line" }];

/** A host on which preflight and the upload of binaries have been. */
function host(): Sandbox {
  const sandbox = new Sandbox();
  mkdirSync(sandbox.at("/var/lib/plainkube/state"), { recursive: true });
  for (const dir of ["bin", "store"]) mkdirSync(sandbox.at(`/opt/plainkube/${dir}`), { recursive: true });
  installBinary(sandbox, "first");
  return sandbox;
}

/** Returns where it lies. */
function installBinary(sandbox: Sandbox, content: string): string {
  const path = `/opt/plainkube/store/${createHash("sha256").update(content).digest("hex")}`;
  writeFileSync(sandbox.at(path), content);
  rmSync(sandbox.at("/opt/plainkube/bin/a"), { force: true });
  symlinkSync(path, sandbox.at("/opt/plainkube/bin/a"));
  return path;
}

const ship = (sandbox: Sandbox, payload = base, files = secrets, phase = "p") =>
  sandbox.run(phaseScript(phase, payload, files), phase, "attempt-1");

/** A host with `base` on it. */
function shipped(): Sandbox {
  const sandbox = host();
  assert.equal(ship(sandbox).status, 0);
  return sandbox;
}

const withFile = (file: HostFile): Payload => ({
  ...base,
  files: base.files.map((f) => (f.path === file.path ? file : f)),
});

test("a first run puts files in place and starts the units", () => {
  const sandbox = host();
  const { status, stdout, stderr, calls } = ship(sandbox);
  assert.deepEqual([status, stdout, stderr], [0, "restarted a.service b.service\n", ""]);
  assert.deepEqual(calls, [
    "enable a.service b.service",
    "daemon-reload",
    "reset-failed",
    "restart a.service b.service",
  ]);
  assert.equal(sandbox.read("/etc/plainkube/a.yaml"), "a: 1\n");
  assert.equal(sandbox.read("/etc/plainkube/b.key"), "not a key\nsecond line", "byte for byte");
  const mode = (path: string) => statSync(sandbox.at(path)).mode & 0o777;
  assert.equal(mode("/etc/plainkube/b.key"), 0o600);
  assert.equal(mode("/etc/plainkube/a.yaml"), 0o600);
  assert.equal(mode("/etc/systemd/system/a.service"), 0o644);
  assert.equal(mode("/etc/plainkube"), 0o755);
});

test("what is noted of a unit stays as it is: another note would restart every unit of every cluster", () => {
  const sandbox = shipped();
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const lines = a.inputs.map((path) =>
    path.startsWith("/opt/")
      ? `/opt/plainkube/store/${sha256("first")}`
      : `${sha256(sandbox.read(path) ?? "")}  ${path}`,
  );
  const unit = `${units}/a.service`;
  const all = [`${sha256(sandbox.read(unit) ?? "")}  ${unit}`, ...lines, ""].join("\n");
  assert.equal(sandbox.read("/var/lib/plainkube/state/unit.a.service"), `${sha256(all)}  -\n`);
});

test("a second run changes nothing", () => {
  const sandbox = shipped();
  const before = statSync(sandbox.at("/etc/plainkube/a.yaml"));
  const { status, stdout, stderr, calls } = ship(sandbox);
  assert.deepEqual([status, stdout, stderr, calls], [0, "nothing to restart\n", "", []]);
  const after = statSync(sandbox.at("/etc/plainkube/a.yaml"));
  assert.deepEqual([after.ino, after.mtimeMs], [before.ino, before.mtimeMs]);
});

const restarts: Record<string, { change: (s: Sandbox) => [Payload?, HostFile[]?]; unit: string }> = {
  "a config file": {
    change: () => [withFile({ path: "/etc/plainkube/a.yaml", content: "a: 2\n" })],
    unit: "a.service",
  },
  "a secret": { change: () => [base, [{ path: "/etc/plainkube/b.key", content: "another" }]], unit: "b.service" },
  "a unit file": { change: () => [withFile(unitFile("b.service", "y"))], unit: "b.service" },
  "a binary": {
    change: (s) => {
      installBinary(s, "second");
      return [];
    },
    unit: "a.service",
  },
  "a unit that has stopped": {
    change: (s) => {
      s.stopUnit("b.service");
      return [];
    },
    unit: "b.service",
  },
};
for (const [name, { change, unit }] of Object.entries(restarts)) {
  test(`restarts one unit: ${name}`, () => {
    const sandbox = shipped();
    const { status, stdout, calls } = ship(sandbox, ...change(sandbox));
    assert.deepEqual([status, stdout], [0, `restarted ${unit}\n`]);
    assert.deepEqual(calls, [`enable ${unit}`, "daemon-reload", "reset-failed", `restart ${unit}`]);
    assert.equal(ship(sandbox, ...change(shipped())).status, 0);
  });
}

test("a file that was changed by hand is set right, and its unit restarted", () => {
  const sandbox = shipped();
  writeFileSync(sandbox.at("/etc/plainkube/a.yaml"), "a: by hand\n");
  const { status, stdout } = ship(sandbox);
  assert.deepEqual([status, stdout], [0, "restarted a.service\n"]);
  assert.equal(sandbox.read("/etc/plainkube/a.yaml"), "a: 1\n");
});

test("a mode that changes is set, without a restart", () => {
  const sandbox = shipped();
  const { stdout } = ship(sandbox, withFile({ path: "/etc/plainkube/a.yaml", content: "a: 1\n", mode: "0640" }));
  assert.equal(stdout, "nothing to restart\n");
  assert.equal(statSync(sandbox.at("/etc/plainkube/a.yaml")).mode & 0o777, 0o640);
});

const onlyA: Payload = { files: base.files.filter((f) => !f.path.includes("b.service")), units: [a] };

test("what is no longer shipped is removed, a unit after it is stopped", () => {
  const sandbox = shipped();
  const { status, stdout, calls } = ship(sandbox, onlyA, []);
  assert.deepEqual(
    [status, stdout],
    [0, `removed /etc/plainkube/b.key\nremoved ${units}/b.service\nnothing to restart\n`],
  );
  assert.deepEqual(calls, ["disable b.service", "daemon-reload"]);
  assert.ok(!sandbox.isActive("b.service"));
  assert.equal(sandbox.read(`${units}/b.service`), undefined);
  assert.equal(sandbox.read("/etc/plainkube/b.key"), undefined);
  assert.deepEqual(ship(sandbox, onlyA, []).calls, [], "and only once");
});

test("another phase's files are left alone", () => {
  const sandbox = shipped();
  const other: Payload = { files: [unitFile("c.service")], units: [{ name: "c.service", inputs: [] }] };
  assert.deepEqual(ship(sandbox, other, [], "q").stdout, "restarted c.service\n");
  assert.ok(sandbox.isActive("a.service") && sandbox.read("/etc/plainkube/b.key"));
});

test("a unit that does not start is named, with its log and what to do; the next run tries it again", () => {
  const sandbox = host();
  sandbox.breakUnit("b.service", true);
  const failed = ship(sandbox);
  assert.notEqual(failed.status, 0);
  assert.match(failed.stderr, /^plainkube: b\.service on \S+ did not start\.$/m);
  assert.match(failed.stderr, /^status of b\.service$/m);
  assert.match(failed.stderr, /^the last lines of its log$/m);
  assert.match(
    failed.stderr,
    /^plainkube: look at 'journalctl -u b\.service' on the host, .* run 'pulumi up' again\.$/m,
  );
  assert.ok(!failed.stderr.includes("a.service"), "the healthy one is not blamed");
  assert.ok(!failed.stderr.includes("not a key"), "no secret is shown");
  sandbox.breakUnit("b.service", false);
  const { status, stdout } = ship(sandbox);
  assert.equal(status, 0);
  assert.match(stdout, /restarted .*b\.service/);
});

test("a unit that fails while its probe waits is named at once", () => {
  const sandbox = host();
  const probe = `: >${sandbox.at("/failed/a.service")}; false`;
  const started = Date.now();
  const { status, stderr } = ship(sandbox, { ...base, units: [{ ...a, probe }, b] });
  assert.notEqual(status, 0);
  assert.match(stderr, /^plainkube: a\.service on \S+ failed\.$/m);
  assert.ok(Date.now() - started < 10_000, "without waiting for the deadline");
});

test("a unit that was started and not seen working is restarted by the next run", () => {
  const sandbox = host();
  const probe = `: >${sandbox.at("/failed/a.service")}; false`;
  ship(sandbox, { ...base, units: [{ ...a, probe }, b] });
  sandbox.breakUnit("a.service", false);
  assert.match(ship(sandbox).stdout, /^restarted a\.service/);
});

test("a unit that failed with a new setting is restarted with the old one", () => {
  const sandbox = shipped();
  const probe = `: >${sandbox.at("/failed/a.service")}; false`;
  const changed = withFile({ path: "/etc/plainkube/a.yaml", content: "a: wrong\n" });
  assert.notEqual(ship(sandbox, { ...changed, units: [{ ...a, probe }, b] }).status, 0);
  sandbox.breakUnit("a.service", false);
  assert.equal(ship(sandbox).stdout, "restarted a.service\n", "though its inputs are those that it last worked with");
});

test("a host that was reset behind Pulumi's back is told from one that never was ours", () => {
  const { status, stderr, calls } = ship(new Sandbox());
  assert.notEqual(status, 0);
  assert.match(
    stderr,
    /^plainkube: \S+ is not prepared: .*; run 'npm run drift -- --stack STACK --repair' \(.*'pulumi destroy', then 'pulumi up'\)\.$/m,
  );
  assert.deepEqual(calls, []);
});

test("a binary that is missing is named", () => {
  const sandbox = host();
  unlinkSync(sandbox.at(installBinary(sandbox, "first")));
  const { status, stderr } = ship(sandbox);
  assert.notEqual(status, 0);
  assert.match(stderr, /^plainkube: \/opt\/plainkube\/bin\/a is missing on/m);
  assert.doesNotMatch(stderr, /cannot write/);
});

test("a binary that is not what its name says is not started, and is named with what to do", () => {
  const sandbox = host();
  const path = installBinary(sandbox, "second");
  writeFileSync(sandbox.at("/var/lib/plainkube/state/owner"), "dev-1234/alpha@192.0.2.1\n");
  writeFileSync(sandbox.at(path), "changed");
  const { status, stderr, calls } = ship(sandbox);
  assert.notEqual(status, 0);
  assert.deepEqual(calls, []);
  const got = createHash("sha256").update("changed").digest("hex");
  const expected = path.slice("/opt/plainkube/store/".length);
  assert.ok(stderr.includes(`got SHA-256 ${got}, expected ${expected}`), stderr);
  assert.ok(stderr.includes("pulumi up --replace '**::alpha-binaries-*'"), stderr);
  writeFileSync(sandbox.at(path), "second");
  assert.equal(ship(sandbox).stdout, "restarted a.service b.service\n");
});

test("a name that was noted in part, on a full disk, takes no folder away", () => {
  const sandbox = shipped();
  writeFileSync(sandbox.at("/var/lib/plainkube/state/files.p"), "/etc/plainkube\n/etc\n", { flag: "a" });
  const { status, stderr } = ship(sandbox);
  assert.deepEqual([status, stderr], [0, ""]);
  assert.equal(sandbox.read("/etc/plainkube/a.yaml"), "a: 1\n");
});

test("a unit that systemd had to start again and again before, and that runs now, is waited for", () => {
  const sandbox = shipped();
  writeFileSync(sandbox.at("/restarts/a.service"), "9");
  const once = sandbox.at("/asked");
  const probe = `[ -e ${once} ] || { touch ${once}; false; }`;
  const { status, stdout, stderr } = ship(sandbox, { ...base, units: [{ ...a, probe }, b] });
  assert.deepEqual([status, stdout, stderr], [0, "nothing to restart\n", ""]);
});

test("a unit that systemd starts again and again is named before the deadline", () => {
  const sandbox = host();
  const probe = `echo 3 >${sandbox.at("/restarts/a.service")}; false`;
  const { status, stderr } = ship(sandbox, { ...base, units: [{ ...a, probe }, b] });
  assert.notEqual(status, 0);
  assert.match(stderr, /^plainkube: a\.service on \S+ fails again and again\.$/m);
});

test("removing a phase removes all of it and nothing else, again too", () => {
  const sandbox = shipped();
  const other: Payload = { files: [unitFile("c.service")], units: [{ name: "c.service", inputs: [] }] };
  ship(sandbox, other, [], "q");
  const remove = () => sandbox.run(phaseScript("p", base, secrets), "p", "remove");
  const { status, stderr, calls } = remove();
  assert.deepEqual([status, stderr], [0, ""]);
  assert.deepEqual(calls, ["disable a.service", "disable b.service", "daemon-reload"]);
  for (const { path } of [...base.files, ...secrets]) assert.equal(sandbox.read(path), undefined, path);
  assert.ok(sandbox.isActive("c.service") && sandbox.read(`${units}/c.service`));
  assert.equal(remove().status, 0);
  assert.equal(ship(sandbox).status, 0, "and it can be shipped again");
});

/** As a run leaves things that is killed when the script reaches a line, if the shell's condition holds there. */
function cutOff(sandbox: Sandbox, payload: Payload, files: HostFile[], line: string, when = "true"): void {
  const script = unpacked(phaseScript("p", payload, files));
  assert.ok(script.includes(line), `apply.sh has the line ${line}`);
  sandbox.run(
    script.replace(line, () => `if ${when}; then kill -KILL $$; fi; ${line}`),
    "p",
    "attempt-1",
  );
}

test("a run that was cut off while files were staged is completed by the next", () => {
  const sandbox = shipped();
  const changed = withFile({ path: "/etc/plainkube/a.yaml", content: "a: 3\n" });
  cutOff(sandbox, changed, secrets, "local path line same=()\n");
  const noted = sandbox.read("/var/lib/plainkube/state/files.p")?.split("\n") ?? [];
  assert.ok(noted.includes("/etc/plainkube/b.key"), "a reset in between finds every file");
  assert.equal(sandbox.read("/etc/plainkube/a.yaml"), "a: 1\n");
  assert.equal(ship(sandbox, changed).stdout, "restarted a.service\n");
  assert.equal(sandbox.read("/etc/plainkube/a.yaml"), "a: 3\n");
  assert.equal(sandbox.read("/etc/plainkube/a.yaml.plainkube-new"), undefined);
});

test("a run that was cut off in the middle of a file is completed by the next", () => {
  const sandbox = host();
  cutOff(
    sandbox,
    base,
    secrets,
    'printf %s "$3" >"$at" ||',
    '[ "$2" = /etc/plainkube/a.yaml ] && printf %.2s "$3" >"$at"',
  );
  assert.equal(sandbox.read("/etc/plainkube/a.yaml"), "a:");
  assert.equal(ship(sandbox).stdout, "restarted a.service b.service\n");
  assert.equal(sandbox.read("/etc/plainkube/a.yaml"), "a: 1\n");
});

test("what another run left beside a file has no say in its mode", () => {
  const sandbox = shipped();
  writeFileSync(sandbox.at("/etc/plainkube/b.key.plainkube-new"), "half", { mode: 0o644 });
  assert.equal(ship(sandbox, base, [{ path: "/etc/plainkube/b.key", content: "another" }]).status, 0);
  assert.equal(sandbox.read("/etc/plainkube/b.key"), "another");
  assert.equal(statSync(sandbox.at("/etc/plainkube/b.key")).mode & 0o777, 0o600);
});

test("a link where a file should be is replaced, and what it leads to is left alone", () => {
  for (const target of ["/etc/elsewhere", "/etc/nowhere"]) {
    const sandbox = host();
    writeFileSync(sandbox.at("/etc/elsewhere"), "a: 1\n");
    mkdirSync(sandbox.at("/etc/plainkube"), { recursive: true });
    symlinkSync(target, sandbox.at("/etc/plainkube/a.yaml"));
    assert.equal(ship(sandbox).status, 0);
    assert.equal(sandbox.read("/etc/elsewhere"), "a: 1\n");
    assert.equal(sandbox.read("/etc/nowhere"), undefined);
    assert.ok(lstatSync(sandbox.at("/etc/plainkube/a.yaml")).isFile());
  }
});

test("a file that a unit reads and nobody ships is named", () => {
  const sandbox = host();
  const { status, stderr } = ship(sandbox, {
    ...base,
    units: [{ ...a, inputs: [...a.inputs, "/etc/plainkube/none"] }, b],
  });
  assert.notEqual(status, 0);
  assert.match(stderr, /^plainkube: \/etc\/plainkube\/none, which a\.service reads, is missing on \S+\./m);
});

test("a probe by curl is not run before its port is open", async () => {
  const sandbox = host();
  const asked = sandbox.at("/asked");
  const probe = `curl -sf http://127.0.0.1:1/ || { touch ${asked}; false; }`;
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  writeFileSync(sandbox.at("/failed/a.service"), "");
  assert.notEqual(ship(sandbox, { ...base, units: [{ ...a, probe }, b] }).status, 0);
  assert.equal(sandbox.read("/asked"), undefined);
  const open = `curl --version >${asked} || curl http://127.0.0.1:${port}/`;
  assert.equal(ship(sandbox, { ...base, units: [{ ...a, probe: open }, b] }).status, 0);
  assert.ok(sandbox.read("/asked"));
  server.close();
});

test("a run that was cut off before systemd was told is completed by the next", () => {
  const sandbox = shipped();
  const changed = withFile(unitFile("a.service", "y"));
  cutOff(sandbox, changed, secrets, 'if [ -n "$changed" ] ||');
  assert.deepEqual(ship(sandbox, changed).calls, [
    "enable a.service",
    "daemon-reload",
    "reset-failed",
    "restart a.service",
  ]);
});

test("a run that was cut off while it removed a unit is completed by the next", () => {
  const sandbox = shipped();
  cutOff(sandbox, onlyA, [], 'echo "removed $path"', '[[ "$path" = *.service ]]');
  assert.equal(sandbox.read(`${units}/b.service`), undefined);
  const { status, stderr } = ship(sandbox, onlyA, []);
  assert.deepEqual([status, stderr], [0, ""]);
  assert.equal(sandbox.read("/etc/plainkube/b.key"), undefined);
});

test("a file that another phase's unit reads is set right, and that unit restarted when its phase is shipped again", () => {
  const sandbox = shipped();
  const other: Payload = {
    files: [unitFile("c.service")],
    units: [{ name: "c.service", inputs: ["/etc/plainkube/a.yaml"] }],
  };
  assert.equal(ship(sandbox, other, [], "q").stdout, "restarted c.service\n");
  assert.equal(ship(sandbox, other, [], "q").stdout, "nothing to restart\n");
  writeFileSync(sandbox.at("/etc/plainkube/a.yaml"), "a: by hand\n");
  assert.equal(ship(sandbox).stdout, "restarted a.service\n");
  assert.equal(ship(sandbox, other, [], "q").stdout, "restarted c.service\n");
  assert.equal(ship(sandbox, other, [], "q").stdout, "nothing to restart\n");
});
