import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { type ClusterSpec, parseCluster } from "../components/spec.ts";
import { environmentOf, projectDirectory } from "../lab/stack.ts";
import { run } from "../toolchain/run.ts";

export interface StackOptions {
  readonly stack: string;
  /** The stack's file; default: the lab's working copy for a stack of the lab, else Pulumi's own default. */
  readonly configFile: string | undefined;
  readonly log: (line: string) => void;
}

/** What the page takes from a stack: its checked configuration, and the administrator's kubeconfig. */
export interface StackAccess {
  readonly spec: ClusterSpec;
  readonly kubeconfig: string;
}

/** What Pulumi needs to find a stack. */
export interface FoundStack {
  readonly env: NodeJS.ProcessEnv;
  /** What names the stack's file, for the commands that read it. */
  readonly fileArguments: readonly string[];
}

/** Finds a stack of the lab, or one of the user's own backend. */
export async function findStack({ stack, configFile, log }: StackOptions): Promise<FoundStack> {
  const env = await environmentOf(stack, log);
  const file = configFile ?? labFile(env.PULUMI_BACKEND_URL ?? "", stack);
  return { env, fileArguments: file ? ["--config-file", file] : [] };
}

/** A stack whose configuration was read and checked, and how to ask more of it. */
export interface OpenedStack {
  readonly spec: ClusterSpec;
  /** Runs a Pulumi command on the stack; returns what it printed. */
  readonly pulumi: (...args: string[]) => Promise<string>;
}

/** Reads a stack's configuration as `pulumi config` shows it, secrets included. `command` is what the user has called. Throws with what to do. */
export async function openStack(options: StackOptions, command: string): Promise<OpenedStack> {
  const { stack } = options;
  const { env, fileArguments } = await findStack(options);
  const pulumi = (...args: string[]) =>
    run("pulumi", [...args, "--stack", stack, "--non-interactive"], {
      cwd: projectDirectory,
      env,
      timeout: 60_000,
    }).catch((error: Error) => {
      throw new Error(
        `the stack ${stack} cannot be read; expected one that Pulumi has made, and its passphrase in PULUMI_CONFIG_PASSPHRASE_FILE where it has one. Make it (\`npm run lab\`, or docs/own-hosts.md), or ` +
          `name another: ${command} -- --stack NAME [--config-file FILE]\n${error.message}`,
      );
    });
  const config = await pulumi("config", "--json", "--show-secrets", ...fileArguments);
  const spec = parseCluster(settings(config), {
    projectDirectory,
    isPreview: false,
    agentSocket: process.env.SSH_AUTH_SOCK,
  });
  return { spec, pulumi };
}

/** A stack that is up: its configuration, and the administrator's kubeconfig. Throws with what to do. */
export async function readStack(options: StackOptions): Promise<StackAccess> {
  const { spec, pulumi } = await openStack(options, "npm run api:explore");
  return { spec, kubeconfig: await pulumi("stack", "output", "kubeconfig", "--show-secrets") };
}

/** The working copy of a stack's file, for a backend in a folder below .lab. */
function labFile(backend: string, stack: string): string | undefined {
  if (!backend.startsWith("file:///")) return undefined;
  const file = join(fileURLToPath(backend), "..", `Pulumi.${stack}.yaml`);
  return relative(join(projectDirectory, ".lab"), file).startsWith("..") || !existsSync(file) ? undefined : file;
}

/** `pulumi config --json` as plain settings, keys without the project's name. */
function settings(shown: string): Record<string, unknown> {
  const values = JSON.parse(shown) as Record<string, { value?: string; objectValue?: unknown }>;
  const own = Object.entries(values).filter(([key]) => key.startsWith("plainkube:"));
  return Object.fromEntries(
    own.map(([key, { value, objectValue }]) => [key.slice("plainkube:".length), objectValue ?? value]),
  );
}
