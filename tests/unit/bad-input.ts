import { randomBytes } from "node:crypto";
import { glob, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type CommandResult, must, run } from "../../lab/shell.ts";
import { ensurePulumi } from "../../toolchain/pulumi.ts";
import { makeKey } from "../plugin/sshd.ts";
import { directory, hostKey, key, projectDirectory } from "./clusters.ts";

/** A wrong configuration of tests/bad-input, and what the user is told. */
export interface BadInput {
  readonly name: string;
  /** What stands in Pulumi.<stack>.yaml below `config:`, or the whole file. */
  readonly yaml: string;
  readonly message: string;
}

const folder = join(import.meta.dirname, "../bad-input");
const block =
  /^## (?<name>.+)\n\n(?:[^`\n].*\n)*\n?```yaml\n(?<yaml>[\s\S]*?)```\n(?:\n```text\n(?<message>[\s\S]*?)\n```\n)?/gm;

/** The cases of every page, by the page's name. */
export async function readCases(): Promise<Map<string, BadInput[]>> {
  const pages = new Map<string, BadInput[]>();
  for (const file of (await Array.fromAsync(glob(join(folder, "*.md")))).sort()) {
    const text = await readFile(file, "utf8");
    const found = [...text.matchAll(block)].map(({ groups: { name = "", yaml = "", message = "" } = {} }) => ({
      name,
      yaml,
      message,
    }));
    const count = text.split("\n").filter((line) => line.startsWith("## ")).length;
    if (found.length !== count) throw new Error(`${file}: ${found.length} of ${count} cases can be read`);
    pages.set(basename(file, ".md"), found);
  }
  return pages;
}

/** Writes the messages of a page anew, as they are now. */
export async function writeMessages(page: string, messages: ReadonlyMap<string, string>): Promise<void> {
  const file = join(folder, `${page}.md`);
  const text = (await readFile(file, "utf8")).replace(block, (...found) => {
    const whole: string = found[0];
    const { name } = found.at(-1) as { name: string };
    const before = whole.split("\n```text\n")[0] ?? whole;
    return `${before}\n\`\`\`text\n${messages.get(name) ?? ""}\n\`\`\`\n`.replace(/(```\n)\n+(```text)/, "$1\n$2");
  });
  await writeFile(file, text);
}

/** Made for this run, as no page holds a key or a password. */
export const password = randomBytes(12).toString("hex");
const encrypted = await makeKey(join(directory, "encrypted"), password);
const blob = hostKey.split(" ")[1] ?? "";
const quoted = (text: string) => JSON.stringify(text).slice(1, -1);

/** What a page says → what it stands for. */
const standIns: Readonly<Record<string, string>> = {
  PRIVATE_KEY: quoted(key.privateKey),
  KEY_BODY: quoted(key.privateKey.split("\n")[1] ?? ""),
  HALF_KEY: hostKey.slice(0, -8),
  HOST_KEY: hostKey,
  KEY_BLOB: blob,
  PASSWORD: password,
  FOLDER: directory,
};

/** No message may hold any of these. */
export const secrets: readonly string[] = [
  password,
  ...[key, encrypted].flatMap((k) =>
    k.privateKey.split("\n").filter((line) => line !== "" && !line.startsWith("-----")),
  ),
];

/** A case's configuration with what its names stand for. */
export const filled = (text: string): string =>
  Object.entries(standIns).reduce((filling, [name, value]) => filling.replaceAll(name, value), text);

/** A message as a page has it. */
export const general = (text: string): string =>
  Object.entries({ HOST_KEY: hostKey, HALF_KEY: standIns.HALF_KEY ?? "", KEY_BLOB: blob, FOLDER: directory }).reduce(
    (shown, [name, value]) => shown.replaceAll(value, name),
    text.replaceAll(join(projectDirectory, "/"), "").trimEnd(),
  );

const policy = { apiVersion: "audit.k8s.io/v1", kind: "Policy" };
const files: Readonly<Record<string, string>> = {
  empty: "",
  "half-key": key.privateKey.slice(0, -40),
  "other-key": key.privateKey.replaceAll("OPENSSH ", ""),
  kind: JSON.stringify({ ...policy, kind: "ConfigMap", rules: [{ level: "None" }] }),
  version: JSON.stringify({ ...policy, apiVersion: "audit.k8s.io/v1beta1", rules: [{ level: "None" }] }),
  rules: JSON.stringify({ ...policy, rules: [] }),
  key: JSON.stringify({ ...policy, rules: [{ level: "None", resource: "pods" }] }),
  revealing: JSON.stringify({
    ...policy,
    rules: [
      { level: "Metadata", resources: [{ group: "", resources: ["secrets", "configmaps"] }] },
      { level: "Request", resources: [{ group: "", resources: ["serviceaccounts/*"] }] },
    ],
  }),
};

/** A stack of the real CLI that has nothing but configurations. */
export class ConfigStack {
  readonly #environment: NodeJS.ProcessEnv;
  #files = 0;

  private constructor(environment: NodeJS.ProcessEnv) {
    this.#environment = environment;
  }

  static async make(): Promise<ConfigStack> {
    for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
    const { SSH_AUTH_SOCK: _, ...outside } = process.env;
    const environment = {
      ...outside,
      ...(await ensurePulumi(() => undefined)),
      PULUMI_BACKEND_URL: `file://${join(directory, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: password,
      PULUMI_STACK: "bad",
    };
    await mkdir(join(directory, "state"));
    await mkdir(join(directory, "stack"));
    await writeFile(join(directory, "stack", "Pulumi.yaml"), "name: plainkube\nruntime: nodejs\n");
    await must(["pulumi", "stack", "init", "bad", "--cwd", join(directory, "stack")], { env: environment });
    return new ConfigStack(environment);
  }

  /** The stack's own file, with the salt that its secrets were encrypted with. */
  readonly file = join(directory, "stack", "Pulumi.bad.yaml");

  /** Runs Pulumi on a stack file with this text, in the project. */
  async run(args: readonly string[], text: string, change: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
    const file = join(directory, `Pulumi.bad-${this.#files++}.yaml`);
    await writeFile(file, text);
    return run(["pulumi", ...args, "--config-file", file, "--non-interactive"], {
      cwd: projectDirectory,
      env: { ...this.#environment, ...change },
    });
  }

  /** Runs Pulumi on this stack, without a stack file of a test's own. */
  plain(args: readonly string[], change: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
    return run(["pulumi", ...args], { cwd: projectDirectory, env: { ...this.#environment, ...change } });
  }

  /** What the CLI makes of each configuration: setting → the text that it hands to the program, and the value. */
  async decode(yamls: readonly string[]): Promise<Map<string, Setting>[]> {
    // One run for all: each configuration is in a namespace of its own.
    const indented = yamls.map((yaml, i) =>
      yaml.replaceAll(/^(?=.)/gm, "  ").replaceAll(/^ {2}("?)plainkube:/gm, `  $1case${i}:`),
    );
    const file = `config:\n${indented.join("")}`;
    const { code, stdout, stderr } = await this.run(["config", "--json", "--show-secrets"], file);
    if (code !== 0) {
      const line = Number(/line (\d+)/.exec(stderr)?.[1] ?? 0);
      throw new Error(
        `pulumi config: ${stderr}${file
          .split("\n")
          .slice(line - 2, line + 1)
          .join("\n")}`,
      );
    }
    const decoded = Object.entries(JSON.parse(stdout) as Record<string, Setting>);
    return yamls.map(
      (_, i) =>
        new Map(
          decoded.flatMap(([key, value]) =>
            key.startsWith(`case${i}:`) ? [[key.slice(key.indexOf(":") + 1), value]] : [],
          ),
        ),
    );
  }
}

/** A setting as `pulumi config --json` shows it. */
export interface Setting {
  readonly value: string;
  readonly objectValue?: unknown;
}
