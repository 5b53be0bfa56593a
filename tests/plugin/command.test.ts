import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import rpc from "@pulumi/pulumi/runtime/rpc.js";
import {
  commandPlugin,
  fileArchive,
  fileAsset,
  type Json,
  type Properties,
  Provider,
  secret,
  textAsset,
  unknown,
} from "./provider.ts";
import { freePort, type KeyPair, makeKey, run, Sshd, startAgent } from "./sshd.ts";

const REMOTE = "command:remote:Command";
const LOCAL = "command:local:Command";
const COPY = "command:remote:CopyToRemote";
const COPY_FILE = "command:remote:CopyFile";

const root = process.getuid?.() === 0;

let dir: string;
let binary: string;
let plugin: Provider;
let sshd: Sshd;
let key: KeyPair;
let lockedKey: KeyPair;
let otherKey: KeyPair;

before(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), "plugin-command-")));
  await chmod(dir, 0o755);
  [binary, key, lockedKey, otherKey] = await Promise.all([
    commandPlugin(dir),
    makeKey(join(dir, "key")),
    makeKey(join(dir, "locked_key"), "open sesame"),
    makeKey(join(dir, "other_key")),
  ]);
  sshd = await Sshd.start(join(dir, "sshd"), [key, lockedKey]);
  plugin = await Provider.start(binary, dir);
});

after(async () => {
  plugin?.stop();
  sshd?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** How to reach the test's server with its key, unless said otherwise. */
function connection(changes: Properties = {}): Properties {
  return {
    host: "127.0.0.1",
    port: sshd.port,
    user: userInfo().username,
    privateKey: key.privateKey,
    hostKey: sshd.hostKey.publicKey,
    dialErrorLimit: 0,
    ...changes,
  };
}

function without(properties: Properties, ...names: string[]): Properties {
  return Object.fromEntries(Object.entries(properties).filter(([name]) => !names.includes(name)));
}

/** A directory of its own for one test. */
async function scratch(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(dir, "case-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await holds()) {
      return;
    }
    await sleep(50);
  }
  assert.fail(`waited 10 s for: ${what}`);
}

/** Whether a process, or for a negative number any process of a group, is there. */
function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** How many TCP connections to a local port are open, seen from the client's side. */
async function openConnections(port: number): Promise<number> {
  const remote = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = (await readFile("/proc/net/tcp", "utf8")).split("\n").map((row) => row.trim().split(/\s+/));
  return rows.filter((row) => row[2]?.endsWith(remote) && row[3] === "01").length;
}

describe("schema", () => {
  it("has the official version and tokens", async () => {
    assert.equal(await plugin.version(), "1.2.1");
    const schema = await plugin.schema();
    assert.equal(schema.name, "command");
    assert.equal(schema.version, "1.2.1");
    assert.deepEqual(Object.keys(schema.resources as Properties).sort(), [LOCAL, REMOTE, COPY_FILE, COPY].sort());
    assert.deepEqual(Object.keys(schema.functions as Properties), ["command:local:run"]);
  });

  it("gives every input as an output too", async () => {
    const resources = (await plugin.schema()).resources as Record<string, Record<string, Properties>>;
    for (const [token, spec] of Object.entries(resources)) {
      for (const input of Object.keys(spec.inputProperties ?? {})) {
        assert.ok(spec.properties?.[input] !== undefined, `${token}: output ${input}`);
      }
    }
    assert.deepEqual(resources[REMOTE]?.required, ["connection", "stdout", "stderr"]);
  });
});

describe("check", () => {
  it("adds defaults and marks what is secret", async () => {
    const inputs = await plugin.checked(REMOTE, {
      connection: { host: "h", privateKey: "k", proxy: { host: "p", password: "s", dialErrorLimit: 0 } },
      create: "true",
    });
    const defaults = { user: "root", port: 22, dialErrorLimit: 10, perDialTimeout: 15 };
    assert.deepEqual(inputs, {
      connection: secret({
        host: "h",
        privateKey: secret("k"),
        proxy: { host: "p", password: secret("s"), ...defaults, dialErrorLimit: 0 },
        ...defaults,
      }),
      create: "true",
    });
    assert.deepEqual(await plugin.checked(REMOTE, inputs), inputs, "checking again changes nothing");
  });

  it("reports all problems with their paths", async () => {
    const { failures } = await plugin.check(REMOTE, {
      connection: secret({ port: "22", hostkey: "k" }),
      environment: { A: 1 },
      creat: "true",
    });
    assert.deepEqual(failures.map((f) => f.property).sort(), [
      "connection.host",
      "connection.hostkey",
      "connection.port",
      "creat",
      "environment.A",
    ]);
    assert.match(failures.find((f) => f.property === "connection.port")?.reason ?? "", /type number, got string/);
  });

  it("takes files, texts and directories as a source, and what is not known yet", async () => {
    const inputs = { connection: { host: "h" }, remotePath: "/x" };
    for (const source of [fileAsset("/f", "1"), textAsset("t", "2"), fileArchive("/d", "3"), unknown]) {
      assert.deepEqual((await plugin.check(COPY, { ...inputs, source })).failures, []);
    }
    const uri = { ...without(fileAsset("", "4"), "path"), uri: "https://example.com/f" };
    for (const source of [uri, "/f"]) {
      const { failures } = await plugin.check(COPY, { ...inputs, source });
      assert.deepEqual(
        failures.map((f) => f.property),
        ["source"],
      );
    }
  });
});

describe("diff", () => {
  const environment = { GREETING: "hello", NAME: "world" };
  const inputs = { connection: secret({ host: "h", user: "root" }), create: "a", triggers: [1, "x"], environment };

  it("sees no change where there is none", async () => {
    const diff = await plugin.diff(REMOTE, inputs, { ...inputs, __internal: {} });
    assert.deepEqual(diff, { changes: false, diffs: [], replaces: [] });
  });

  it("updates on any change but triggers, which replace", async () => {
    const changes: [Properties, string, boolean][] = [
      [{ create: "b" }, "create", false],
      [{ update: "u" }, "update", false],
      [{ environment: { ...environment, NAME: "moon" } }, "environment", false],
      [{ environment: { GREETING: "hello" } }, "environment", false],
      [{ connection: secret({ host: "other", user: "root" }) }, "connection", false],
      [{ triggers: [2, "x"] }, "triggers", true],
      [{ triggers: [1] }, "triggers", true],
      [{ triggers: [1, "x", null] }, "triggers", true],
    ];
    for (const [change, name, replaces] of changes) {
      const diff = await plugin.diff(REMOTE, inputs, { ...inputs, ...change });
      assert.deepEqual(diff, { changes: true, diffs: [name], replaces: replaces ? [name] : [] });
    }
    const removed = await plugin.diff(REMOTE, inputs, without(inputs, "triggers"));
    assert.deepEqual(removed, { changes: true, diffs: ["triggers"], replaces: ["triggers"] });
  });

  it("compares a source by its contents", async () => {
    const copy = { connection: secret({ host: "h" }), remotePath: "/x", source: fileAsset("/a", "1") };
    assert.equal((await plugin.diff(COPY, copy, { ...copy, source: fileAsset("/b", "1") })).changes, false);
    const diff = await plugin.diff(COPY, copy, { ...copy, source: fileAsset("/a", "2") });
    assert.deepEqual(diff, { changes: true, diffs: ["source"], replaces: [] });
  });

  it("replaces a CopyFile on any change", async () => {
    const copy = { connection: secret({ host: "h" }), localPath: "/a", remotePath: "/x" };
    const diff = await plugin.diff(COPY_FILE, copy, { ...copy, localPath: "/b" });
    assert.deepEqual(diff.replaces, ["localPath"]);
  });
});

describe("preview and refresh", () => {
  it("dials nothing and leaves outputs unknown", async (t) => {
    let dials = 0;
    const server = createServer((socket) => {
      dials++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const reached = connection({ port: address.port });

    const { id, state } = await plugin.create(REMOTE, { connection: reached, create: "true" }, true);
    assert.equal(id, "");
    assert.equal(state.create, "true");
    assert.equal(state.stdout, unknown);
    const old = { connection: secret(reached), create: "true", stdout: "old", stderr: "" };
    const updated = await plugin.update(REMOTE, old, { connection: reached, create: "false" }, true);
    assert.equal(updated.stdout, unknown);
    await plugin.create(REMOTE, { connection: unknown, create: unknown }, true);
    await plugin.create(COPY, { connection: reached, source: fileAsset("/none", "1"), remotePath: "/x" }, true);
    assert.equal(dials, 0);

    await assert.rejects(
      plugin.create(REMOTE, { connection: reached, create: "true" }),
      "only a preview dials nothing",
    );
    assert.equal(dials, 1);
  });

  it("reads back what it is given", async () => {
    const inputs = await plugin.checked(REMOTE, { connection: connection(), create: "true" });
    const state = { ...inputs, stdout: "o", stderr: "" };
    assert.deepEqual(await plugin.read(REMOTE, inputs, state), { inputs, state });
  });
});

describe("local command", () => {
  it("runs create, update and delete in turn, each with the output of the last", async (t) => {
    const log = join(await scratch(t), "log");
    const inputs = {
      create: "echo one; echo two; echo warn >&2",
      update: 'printf "%s" "$PULUMI_COMMAND_STDOUT+$PULUMI_COMMAND_STDERR"',
      delete: `printf "%s" "$PULUMI_COMMAND_STDOUT" > ${log}`,
    };
    const { id, state } = await plugin.create(LOCAL, inputs);
    assert.match(id, /^name[0-9a-f]{8}$/);
    assert.deepEqual(state, { ...inputs, stdout: "one\ntwo", stderr: "warn" });
    const updated = await plugin.update(LOCAL, state, { ...inputs, triggers: [1] });
    assert.deepEqual(updated, { ...inputs, triggers: [1], stdout: "one\ntwo+warn", stderr: "" });
    await plugin.delete(LOCAL, updated);
    assert.equal(await readFile(log, "utf8"), "one\ntwo+warn");
  });

  it("runs create for an update without a command of its own, and nothing where there is none", async () => {
    const { state } = await plugin.create(LOCAL, { create: "echo a" });
    assert.equal((await plugin.update(LOCAL, state, { create: "echo b" })).stdout, "b");
    assert.deepEqual(await plugin.update(LOCAL, state, { delete: "exit 1" }), {
      delete: "exit 1",
      stdout: "a",
      stderr: "",
    });
    const { state: idle } = await plugin.create(LOCAL, { update: "exit 1" });
    assert.deepEqual(idle, { update: "exit 1", stdout: "", stderr: "" });
    await plugin.delete(LOCAL, idle);
  });

  it("keeps the last output from the next run if told so", async () => {
    const inputs = { create: "echo secret", update: 'echo "[$PULUMI_COMMAND_STDOUT]"', addPreviousOutputInEnv: false };
    const { state } = await plugin.create(LOCAL, inputs);
    assert.equal((await plugin.update(LOCAL, state, inputs)).stdout, "[]");
  });

  it("takes stdin, environment, dir and interpreter", async (t) => {
    const cwd = await scratch(t);
    const { state } = await plugin.create(LOCAL, {
      interpreter: ["/bin/sh", "-eu", "-c"],
      dir: cwd,
      environment: { GREETING: "hello world" },
      stdin: "from stdin",
      create: 'case $- in *u*) ;; *) exit 9 ;; esac; pwd; echo "$GREETING"; cat',
    });
    assert.equal(state.stdout, `${cwd}\nhello world\nfrom stdin`);
  });

  it("returns files as assets and as an archive", async (t) => {
    const cwd = await scratch(t);
    const { state } = await plugin.create(LOCAL, {
      dir: cwd,
      create: "mkdir -p a/b; echo 1 > a/b/one.txt; echo 2 > a/two.txt; echo 3 > a/secret.txt; echo 4 > four.txt",
      assetPaths: ["a/**", "!**/secret.*"],
      archivePaths: ["*.txt"],
    });
    const assets = state.assets as Record<string, Properties>;
    assert.deepEqual(Object.keys(assets).sort(), ["a/b/one.txt", "a/two.txt"]);
    assert.equal(assets["a/two.txt"]?.[rpc.specialSigKey], rpc.specialAssetSig);
    assert.equal(assets["a/two.txt"]?.path, join(cwd, "a/two.txt"));
    const archive = state.archive as Record<string, Properties>;
    assert.deepEqual(Object.keys(archive.assets ?? {}), ["four.txt"]);
  });

  it("fails with the exit status, the command and all output", async () => {
    const create = "echo to stdout; echo to stderr >&2; exit 3";
    await assert.rejects(plugin.create(LOCAL, { create }), (error: Error) => {
      assert.match(error.message, /^exit status 3: running "echo to stdout;/);
      assert.match(error.message, /to stdout\n/);
      assert.match(error.message, /to stderr\n/);
      return true;
    });
  });

  it("survives output that is not text, and too long for a variable", async () => {
    const { state } = await plugin.create(LOCAL, {
      create: "printf 'a\\377b'; head -c 200000 /dev/zero | tr '\\0' x >&2",
      update: 'printf "%s" "$PULUMI_COMMAND_STDOUT,$PULUMI_COMMAND_STDERR"',
    });
    assert.equal(state.stdout, "a\uFFFDb");
    assert.equal(String(state.stderr).length, 200_000);
    plugin.logs.length = 0;
    const updated = await plugin.update(LOCAL, state, without(state, "stdout", "stderr"));
    assert.equal(updated.stdout, "a\uFFFDb,");
    assert.ok(plugin.logs.some((log) => !log.ephemeral && /PULUMI_COMMAND_STDERR is not set/.test(log.message)));
  });

  it("runs as a function, in previews too", async () => {
    const args = { command: "echo $X", environment: { X: "y" } };
    const { result } = await plugin.invoke("command:local:run", args);
    assert.deepEqual(result, { ...args, stdout: "y", stderr: "" });
    await assert.rejects(plugin.invoke("command:local:run", { command: "exit 4" }), /exit status 4/);
    const { failures } = await plugin.invoke("command:local:run", {});
    assert.deepEqual(failures, [{ property: "command", reason: "missing required property" }]);
  });
});

describe("logging", () => {
  const shown: [string | undefined, string[]][] = [
    [undefined, ["err", "out"]],
    ["stdoutAndStderr", ["err", "out"]],
    ["stdout", ["out"]],
    ["stderr", ["err"]],
    ["none", []],
  ];
  for (const [logging, expected] of shown) {
    it(`shows ${expected.join(" and ") || "nothing"} for ${logging ?? "the default"}, and stores all`, async () => {
      for (const place of [
        { type: LOCAL, more: {} },
        { type: REMOTE, more: { connection: connection() } },
      ]) {
        plugin.logs.length = 0;
        const inputs = { create: "echo out; echo err >&2", ...(logging === undefined ? {} : { logging }) };
        const { state } = await plugin.create(place.type, { ...inputs, ...place.more });
        assert.deepEqual(plugin.logs.map((log) => log.message).sort(), expected, place.type);
        assert.ok(plugin.logs.every((log) => log.ephemeral));
        assert.deepEqual([state.stdout, state.stderr], ["out", "err"]);
      }
    });
  }
});

describe("remote command", () => {
  it("runs create, update and delete in turn, each with the output of the last", async (t) => {
    const log = join(await scratch(t), "log");
    const inputs = {
      connection: connection(),
      create: "echo one; echo two; echo warn >&2",
      update: 'printf "%s" "$PULUMI_COMMAND_STDOUT+$PULUMI_COMMAND_STDERR"',
      delete: `printf "%s" "$PULUMI_COMMAND_STDOUT" > ${log}`,
    };
    const { id, state } = await plugin.create(REMOTE, inputs);
    assert.match(id, /^name[0-9a-f]{8}$/);
    assert.deepEqual(state, { ...(await plugin.checked(REMOTE, inputs)), stdout: "one\ntwo", stderr: "warn" });
    const updated = await plugin.update(REMOTE, state, { ...inputs, logging: "none" });
    assert.equal(updated.stdout, "one\ntwo+warn");
    await plugin.delete(REMOTE, updated);
    assert.equal(await readFile(log, "utf8"), "one\ntwo+warn");
  });

  it("takes stdin and the variables that the server accepts, and names one that it refuses", async () => {
    const inputs = { connection: connection(), stdin: "from stdin", create: 'echo "$GREETING"; cat' };
    const { state } = await plugin.create(REMOTE, { ...inputs, environment: { GREETING: "hello world" } });
    assert.equal(state.stdout, "hello world\nfrom stdin");
    await assert.rejects(
      plugin.create(REMOTE, { ...inputs, environment: { FORBIDDEN: "x" } }),
      /could not set environment variable "FORBIDDEN": .*AcceptEnv/,
    );
  });

  it("fails with the exit status, the command and all output", async () => {
    const create = "echo to stdout; echo to stderr >&2; exit 3";
    await assert.rejects(plugin.create(REMOTE, { connection: connection(), create }), (error: Error) => {
      assert.match(error.message, /^Process exited with status 3: running "echo to stdout;/);
      assert.match(error.message, /to stdout\n/);
      assert.match(error.message, /to stderr\n/);
      return true;
    });
  });

  it("takes an output line of 200 KiB", { timeout: 20_000 }, async () => {
    plugin.logs.length = 0;
    const create = "head -c 204800 /dev/zero | tr '\\0' x; echo; echo end";
    const { state } = await plugin.create(REMOTE, { connection: connection(), create });
    assert.equal(state.stdout, `${"x".repeat(204_800)}\nend`);
    assert.equal(plugin.logs.map((log) => log.message).join(""), `${"x".repeat(204_800)}end`);
  });

  it("reports a failed connection only after dialErrorLimit retries", async () => {
    plugin.logs.length = 0;
    const refused = connection({ port: await freePort(), dialErrorLimit: 2 });
    await assert.rejects(
      plugin.create(REMOTE, { connection: refused, create: "true" }),
      /^Error: after 2 failed attempts: .*connection refused/,
    );
    assert.deepEqual(
      plugin.logs.map((log) => log.message.replace(/:.*/, "")),
      ["Dial 1/2 failed", "Dial 2/2 failed"],
    );
  });

  it("reaches a host that comes up while it retries", async (t) => {
    const late = connection({ port: await freePort(), dialErrorLimit: -1 });
    const creating = plugin.create(REMOTE, { connection: late, create: "echo up" });
    await sleep(300);
    const relay = createServer((socket) => {
      socket.pipe(createConnection(sshd.port, "127.0.0.1")).pipe(socket);
    });
    await new Promise<void>((resolve) => relay.listen(Number(late.port), "127.0.0.1", resolve));
    t.after(() => relay.close());
    assert.equal((await creating).state.stdout, "up");
  });

  it("gives up on a server that never speaks", { timeout: 20_000 }, async (t) => {
    const mute = createServer();
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    t.after(() => mute.close());
    const address = mute.address();
    assert.ok(address !== null && typeof address === "object");
    const silent = connection({ port: address.port, perDialTimeout: 1 });
    await assert.rejects(
      plugin.create(REMOTE, { connection: silent, create: "true" }),
      /handshake with .*deadline exceeded/,
    );
  });

  it("says that the connection was lost, to which host, and what to do", async () => {
    // Its parent is the server's half of the session.
    await assert.rejects(
      plugin.create(REMOTE, { connection: connection(), create: "kill -KILL $PPID; sleep 1" }),
      new RegExp(
        `^Error: the connection to 127\\.0\\.0\\.1:${sshd.port} was lost while the command ran.*run the same command again`,
      ),
    );
  });

  it("keeps a connection for the next command on the host, and leaves none open", async () => {
    const logins = () => sshd.log.split("Accepted publickey").length;
    const inputs = { connection: connection({ perDialTimeout: 14 }), create: "true" };
    const before = logins();
    await plugin.create(REMOTE, inputs);
    await assert.rejects(plugin.create(REMOTE, { ...inputs, create: "false" }));
    await plugin.create(REMOTE, inputs);
    assert.equal(logins() - before, 1);
    await Promise.all([plugin.create(REMOTE, inputs), plugin.create(REMOTE, inputs)]);
    assert.equal(logins() - before, 2);
    await eventually("all connections closed", async () => (await openConnections(sshd.port)) === 0);
  });

  it("makes another connection when the one that was kept is lost", async () => {
    const inputs = { connection: connection({ perDialTimeout: 13 }), create: "echo $PPID" };
    const { state } = await plugin.create(REMOTE, inputs);
    process.kill(Number(state.stdout), "SIGKILL");
    const again = await plugin.create(REMOTE, inputs);
    assert.notEqual(again.state.stdout, state.stdout);
  });
});

describe("authentication", () => {
  const create = "echo in";

  it("works with an encrypted key, and not with a wrong passphrase", async () => {
    const locked = { privateKey: lockedKey.privateKey, privateKeyPassword: "open sesame" };
    const { state } = await plugin.create(REMOTE, { connection: connection(locked), create });
    assert.equal(state.stdout, "in");
    await assert.rejects(
      plugin.create(REMOTE, { connection: connection({ ...locked, privateKeyPassword: "x" }), create }),
      /privateKey: .*(decryption|password)/,
    );
  });

  it("refuses a key that the server does not know", async () => {
    const stranger = connection({ privateKey: otherKey.privateKey });
    await assert.rejects(plugin.create(REMOTE, { connection: stranger, create }), /unable to authenticate/);
  });

  it("works with an agent, named or from the environment", async (t) => {
    const socket = join(await scratch(t), "agent");
    const agent = await startAgent(socket, [otherKey, key]);
    t.after(() => agent.kill());
    const keyless = without(connection(), "privateKey");
    const named = await plugin.create(REMOTE, { connection: { ...keyless, agentSocketPath: socket }, create });
    assert.equal(named.state.stdout, "in");
    await assert.rejects(plugin.create(REMOTE, { connection: keyless, create }), /unable to authenticate/);

    const other = await Provider.start(binary, dir, { SSH_AUTH_SOCK: socket });
    t.after(() => other.stop());
    assert.equal((await other.create(REMOTE, { connection: keyless, create })).state.stdout, "in");
  });

  it("works with a password", { skip: root ? false : "only root can make a user" }, async (t) => {
    const user = `pk${randomBytes(4).toString("hex")}`;
    const password = randomBytes(12).toString("base64url");
    const home = join(await scratch(t), "home");
    await run("useradd", ["--create-home", "--home-dir", home, "--shell", "/bin/sh", user]);
    t.after(() => run("userdel", ["--force", user]));
    const chpasswd = promisify(execFile)("chpasswd", []);
    chpasswd.child.stdin?.end(`${user}:${password}\n`);
    await chpasswd;

    const asUser = without(connection({ user, password }), "privateKey");
    const { state } = await plugin.create(REMOTE, { connection: asUser, create: "id -un" });
    assert.equal(state.stdout, user);
    const wrong = { ...asUser, password: "wrong" };
    await assert.rejects(plugin.create(REMOTE, { connection: wrong, create }), /unable to authenticate/);
  });

  it("refuses a host with another key than the pinned one, at once and before anything runs", async (t) => {
    const marker = join(await scratch(t), "marker");
    const pinned = connection({ hostKey: otherKey.publicKey, dialErrorLimit: -1 });
    await assert.rejects(
      plugin.create(REMOTE, { connection: pinned, create: `touch ${marker}` }),
      /host key mismatch: 127\.0\.0\.1:\d+ has ssh-ed25519 SHA256:\S+, but hostKey pins ssh-ed25519 SHA256:/,
    );
    await assert.rejects(stat(marker));
    await assert.rejects(
      plugin.create(REMOTE, { connection: connection({ hostKey: "no key" }), create }),
      /failed to parse host key/,
    );
  });

  it("takes any host if no key is pinned, and a pinned RSA key of a server of today", async (t) => {
    const { state } = await plugin.create(REMOTE, { connection: without(connection(), "hostKey"), create });
    assert.equal(state.stdout, "in");
    const rsa = await Sshd.start(join(await scratch(t), "sshd"), [key], "rsa");
    t.after(() => rsa.stop());
    const pinned = connection({ port: rsa.port, hostKey: rsa.hostKey.publicKey });
    assert.equal((await plugin.create(REMOTE, { connection: pinned, create })).state.stdout, "in");
  });
});

describe("jump host", () => {
  it("leads to the host, and is left again", async (t) => {
    const jump = await Sshd.start(join(await scratch(t), "sshd"), [otherKey]);
    t.after(() => jump.stop());
    const proxy = connection({
      port: jump.port,
      privateKey: otherKey.privateKey,
      hostKey: jump.hostKey.publicKey,
    });
    const { state } = await plugin.create(REMOTE, { connection: connection({ proxy }), create: "echo through" });
    assert.equal(state.stdout, "through");
    assert.match(jump.log, /Accepted publickey/);
    await eventually("all connections closed", async () => {
      return (await openConnections(jump.port)) + (await openConnections(sshd.port)) === 0;
    });

    const mistaken = { ...proxy, hostKey: key.publicKey };
    await assert.rejects(
      plugin.create(REMOTE, { connection: connection({ proxy: mistaken }), create: "true" }),
      /^Error: proxy: .*host key mismatch/,
    );
    const behind = connection({ proxy, port: await freePort(), dialErrorLimit: 1 });
    await assert.rejects(
      plugin.create(REMOTE, { connection: behind, create: "true" }),
      /after 1 failed attempts: .*refused/,
    );
  });
});

describe("cancellation", () => {
  it("ends what runs, here and there", { timeout: 20_000 }, async (t) => {
    const cwd = await scratch(t);
    const other = await Provider.start(binary, dir);
    t.after(() => other.stop());
    const create = (name: string) => `echo $$ > ${join(cwd, name)}; sleep 300 & sleep 301; wait`;
    const running = [
      other.create(LOCAL, { create: create("local") }),
      other.create(REMOTE, { connection: connection(), create: create("remote") }),
      other.create(REMOTE, { connection: connection({ port: await freePort(), dialErrorLimit: -1 }), create: "true" }),
    ].map((creation) => assert.rejects(creation, /killed|canceled/));
    await eventually("both commands running", async () => (await readdir(cwd)).length === 2);
    const pid = async (name: string) => Number((await readFile(join(cwd, name), "utf8")).trim());
    const [local, remote] = [await pid("local"), await pid("remote")];
    // OpenSSH forwards signals to the processes of users other than root only.
    t.after(() => root && process.kill(-remote));
    await other.cancel();
    await Promise.all(running);
    await eventually("the local command and its children gone", async () => !alive(-local));
    await eventually("the connection closed", async () => (await openConnections(sshd.port)) === 0);
    if (!root) {
      await eventually("the remote command gone", async () => !alive(-remote));
    }
  });
});

describe("an engine that is killed", () => {
  it("takes the plugin with it, and the connections of what runs", { timeout: 20_000 }, async (t) => {
    const cwd = await scratch(t);
    const other = await Provider.start(binary, dir);
    const create = `echo $$ > ${join(cwd, "remote")}; sleep 20`;
    const running = assert.rejects(other.create(REMOTE, { connection: connection(), create }));
    await eventually("the command running", async () => (await readdir(cwd)).length === 1);
    const pid = Number((await readFile(join(cwd, "remote"), "utf8")).trim());
    t.after(() => alive(pid) && process.kill(pid));
    other.killEngine();
    await eventually("the plugin gone", async () => !alive(other.pid));
    await running;
    await eventually("the connection closed", async () => (await openConnections(sshd.port)) === 0);
    other.stop();
  });
});

describe("copy", () => {
  const copy = (source: Json, remotePath: string, changes: Properties = {}) =>
    plugin.create(COPY, { connection: connection(changes), source, remotePath });

  it("copies a file to a path that it makes, or into a directory", async (t) => {
    const cwd = await scratch(t);
    const contents = randomBytes(3_000_001);
    await writeFile(join(cwd, "file"), contents);
    const source = fileAsset(join(cwd, "file"), "1");
    const { id, state } = await copy(source, join(cwd, "new/path/to/it"));
    assert.match(id, /^[0-9a-f]{8}$/);
    assert.deepEqual(state.source, source);
    assert.ok(contents.equals(await readFile(join(cwd, "new/path/to/it"))));
    await copy(source, join(cwd, "new"));
    assert.ok(contents.equals(await readFile(join(cwd, "new/file"))));
    assert.deepEqual((await readdir(join(cwd, "new"))).sort(), ["file", "path"], "nothing else is left there");
  });

  it("copies a text to a path, but not onto a directory", async (t) => {
    const cwd = await scratch(t);
    await copy(textAsset("grüße\n", "1"), join(cwd, "a/text"));
    assert.equal(await readFile(join(cwd, "a/text"), "utf8"), "grüße\n");
    await assert.rejects(copy(textAsset("x", "2"), join(cwd, "a")), /is a directory/);
  });

  it("copies a directory, or with a trailing slash what is in it", async (t) => {
    const cwd = await scratch(t);
    await mkdir(join(cwd, "tree/sub"), { recursive: true });
    await writeFile(join(cwd, "tree/a"), "a");
    await writeFile(join(cwd, "tree/sub/b"), "b");
    await copy(fileArchive(join(cwd, "tree"), "1"), join(cwd, "to"));
    assert.equal(await readFile(join(cwd, "to/tree/sub/b"), "utf8"), "b");
    await copy(fileArchive(`${join(cwd, "tree")}/`, "1"), join(cwd, "to"));
    assert.deepEqual((await readdir(join(cwd, "to"))).sort(), ["a", "sub", "tree"]);
    assert.equal(await readFile(join(cwd, "to/sub/b"), "utf8"), "b");

    await writeFile(join(cwd, "plain"), "");
    await assert.rejects(
      copy(fileArchive(`${join(cwd, "tree")}/`, "1"), join(cwd, "plain")),
      /exists but is not a directory/,
    );
    await assert.rejects(copy(fileArchive(join(cwd, "tree"), "1"), join(cwd, "plain")));
  });

  it("copies again when contents or path changed, and only then", async (t) => {
    const cwd = await scratch(t);
    const dest = join(cwd, "dest");
    const { state } = await copy(textAsset("one", "1"), dest);
    const nowhere = connection({ port: await freePort() });
    const moved = await plugin.update(COPY, state, {
      connection: nowhere,
      source: textAsset("one", "1"),
      remotePath: dest,
    });
    assert.equal((moved.connection as Record<string, Properties>).value?.port, nowhere.port);

    const inputs = { connection: connection(), source: textAsset("two", "2"), remotePath: dest };
    const updated = await plugin.update(COPY, moved, inputs);
    assert.equal(await readFile(dest, "utf8"), "two");
    await plugin.update(COPY, updated, { ...inputs, remotePath: `${dest}2` });
    assert.equal(await readFile(`${dest}2`, "utf8"), "two");
    await plugin.delete(COPY, updated);
    assert.equal(await readFile(dest, "utf8"), "two", "a copy stays when the resource is deleted");
  });

  it("replaces a running program, and keeps the mode of what it overwrites", async (t) => {
    const cwd = await scratch(t);
    const program = join(cwd, "program");
    await copyFile("/bin/sleep", program);
    await chmod(program, 0o750);
    const running = spawn(program, ["300"]);
    t.after(() => running.kill());
    await copy(textAsset("new", "1"), program);
    assert.equal(await readFile(program, "utf8"), "new");
    assert.equal((await stat(program)).mode & 0o777, 0o750);
  });

  it("writes through a link", async (t) => {
    const cwd = await scratch(t);
    await writeFile(join(cwd, "target"), "old");
    await symlink("target", join(cwd, "link"));
    await copy(textAsset("new", "1"), join(cwd, "link"));
    assert.ok((await lstat(join(cwd, "link"))).isSymbolicLink());
    assert.equal(await readFile(join(cwd, "target"), "utf8"), "new");
  });

  it("says which file it could not read or write", async (t) => {
    const cwd = await scratch(t);
    await assert.rejects(copy(fileAsset(join(cwd, "none"), "1"), join(cwd, "x")), /none: no such file/);
    await writeFile(join(cwd, "file"), "");
    await assert.rejects(copy(textAsset("x", "1"), join(cwd, "file/below")), new RegExp(`${basename(cwd)}/file/below`));
  });

  it("copies a file with the older CopyFile too", async (t) => {
    const cwd = await scratch(t);
    await writeFile(join(cwd, "file"), "contents");
    const inputs = { connection: connection(), localPath: join(cwd, "file"), remotePath: join(cwd, "copy") };
    await plugin.create(COPY_FILE, inputs);
    assert.equal(await readFile(join(cwd, "copy"), "utf8"), "contents");
  });
});
