import { spawn } from "node:child_process";
import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { shellWord } from "../components/host/shipment.ts";
import { type SshCommand, type SshTarget, withSsh } from "../components/host/ssh.ts";
import { paths } from "../components/paths.ts";
import type { StoredFile } from "../toolchain/cache.ts";
import type { EtcdStatus, Listing } from "./answers.ts";
import { type KeyPage, listKeys } from "./keys.ts";
import type { StoredValue } from "./stored.ts";

/** What the page asks of etcd. */
export interface EtcdSource {
  status(): Promise<EtcdStatus>;
  list(prefix: string, from?: string): Promise<Listing>;
  /** Undefined if there is no such key. */
  value(key: string): Promise<StoredValue | undefined>;
}

export interface EtcdReaderOptions {
  /** Host and member as errors name them. */
  readonly host: string;
  readonly target: SshTarget;
  /** Passphrase of the private key; empty without one. */
  readonly password: string;
  /** etcdctl for the host. */
  readonly etcdctl: () => Promise<StoredFile>;
}

const script = readFileSync(new URL("./etcd.sh", import.meta.url), "utf8");

/**
 * Reads etcd where it runs: one SSH session, made when it is first needed, in which etcdctl is asked with the API server's
 * own client certificate. So no key leaves the host; etcdctl is unlinked as soon as it is there.
 */
export class EtcdReader implements EtcdSource {
  readonly #options: EtcdReaderOptions;
  #session: Promise<Session> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: EtcdReaderOptions) {
    this.#options = options;
  }

  async status(): Promise<EtcdStatus> {
    const [{ Status }] = JSON.parse(await this.#ask("status"));
    return { version: Status.version, revision: Status.header.revision, size: Status.dbSize };
  }

  list(prefix: string, from?: string): Promise<Listing> {
    return listKeys((start, end, limit) => this.#keys(start, end, limit), prefix, from);
  }

  async value(key: string): Promise<StoredValue | undefined> {
    const answer = await this.#ask("value", base64(key));
    const [found] = JSON.parse(answer).kvs ?? [];
    if (!found) return undefined;
    // A number above what JSON.parse keeps exactly; values are in base64, so that none looks like it.
    const lease = /"lease":(\d+)/.exec(answer)?.[1];
    return {
      key,
      value: Buffer.from(found.value ?? "", "base64"),
      createRevision: found.create_revision,
      modRevision: found.mod_revision,
      version: found.version,
      lease: lease === undefined ? undefined : BigInt(lease).toString(16),
    };
  }

  /** Ends the session on the host, if there is one. */
  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined);
    await session?.close();
  }

  async #keys(start: string, end: string, limit: number): Promise<KeyPage> {
    const answer = JSON.parse(await this.#ask("keys", base64(start), base64(end), String(limit)));
    return {
      keys: (answer.kvs ?? []).map(({ key }: { key: string }) => Buffer.from(key, "base64").toString("utf8")),
      more: answer.more === true,
      revision: answer.header.revision,
    };
  }

  /** One request after the other: etcdctl answers in the order of the lines. */
  #ask(...words: string[]): Promise<string> {
    const answer = this.#last.then(async () => {
      this.#session ??= this.#open();
      const session = await this.#session.catch((error: Error) => {
        // The next request tries again.
        this.#session = undefined;
        throw error;
      });
      return session.ask(words.join(" "));
    });
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #open(): Promise<Session> {
    const { host, target, password, etcdctl } = this.#options;
    const program = await etcdctl();
    const variables = {
      size: String(program.size),
      sha256: program.sha256,
      parent: paths.opt,
      ca: `${paths.pki}/etcd/ca.crt`,
      cert: `${paths.pki}/apiserver-etcd-client.crt`,
      key: `${paths.pki}/apiserver-etcd-client.key`,
    };
    const lines = Object.entries(variables).map(([name, value]) => `${name}=${shellWord(value)}`);
    const { user, host: address, port } = target.endpoint;
    const where = `${host} (${user}@${address}:${port})`;
    return openSession(where, target, password, [...lines, script].join("\n"), program.path, () => {
      this.#session = undefined;
    });
  }
}

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

/** etcd.sh on its host, ready for requests. */
interface Session {
  ask(request: string): Promise<string>;
  close(): Promise<void>;
}

function openSession(
  where: string,
  target: SshTarget,
  password: string,
  onHost: string,
  etcdctl: string,
  onEnd: () => void,
): Promise<Session> {
  const opened = Promise.withResolvers<Session>();
  const work = async ({ program, args, env }: SshCommand) => {
    const ssh = spawn(program, args, { stdio: "pipe", env });
    const ended = new Promise<void>((resolve) => ssh.on("close", () => resolve()));
    let complaint = "";
    const complain = (text: string) => {
      complaint = `${complaint}${text}`.slice(-1000);
    };
    ssh.on("error", (error) => complain(error.message));
    ssh.stderr.setEncoding("utf8").on("data", complain);
    // A session that ends is noticed by what it does not answer.
    ssh.stdin.on("error", () => undefined);
    const lines = createInterface({ input: ssh.stdout })[Symbol.asyncIterator]();
    const answer = async (seconds: number): Promise<string> => {
      const late = setTimeout(() => {
        complain(`no answer in ${seconds} s`);
        ssh.kill();
      }, seconds * 1000);
      const { value, done } = await lines.next();
      clearTimeout(late);
      if (!done) return value;
      await ended;
      throw new Error(
        `etcd cannot be read on ${where}: ${complaint.trim() || "the SSH session ended"}; expected a session as root in which etcd answers. ` +
          "Look whether the host is up and the stack's SSH settings are right",
      );
    };
    const ask = async (request: string) => {
      ssh.stdin.write(`${request}\n`);
      return contentOf(await answer(30), where);
    };
    const start = async () => {
      contentOf(await answer(60), where);
      await pipeline(createReadStream(etcdctl), ssh.stdin, { end: false });
      contentOf(await answer(600), where);
    };
    const close = () => {
      ssh.stdin.end();
      return ended;
    };
    await start().then(
      () => opened.resolve({ ask, close }),
      (error: Error) => {
        opened.reject(error);
        ssh.stdin.end();
      },
    );
    await ended;
    onEnd();
  };
  withSsh(target, password, onHost, work).catch(opened.reject);
  return opened.promise;
}

/** What a line of etcd.sh brings. Throws what it, or etcdctl, complains of. */
function contentOf(line: string, where: string): string {
  if (!line.startsWith("error ")) return line.replace(/^ok /, "");
  // etcdctl logs before it says what is wrong.
  const complaint = /Error: (.*)$/.exec(line)?.[1] ?? line.slice("error ".length);
  throw new Error(
    `etcd on ${where} does not answer: ${complaint.trim()}; expected etcd at https://127.0.0.1:2379 there. ` +
      "Look at it by `systemctl status etcd` and `journalctl -u etcd`",
  );
}
