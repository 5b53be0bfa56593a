import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parse, stringify } from "yaml";
import { readyToSend, resolveSource } from "../components/binaries/obtain.ts";
import { pinsFor } from "../components/binaries/pins.ts";
import { stagesOf } from "../components/binaries/stages.ts";
import { clusterSchema } from "../components/schema.ts";
import { supportedVersions } from "../components/versions.ts";
import { withBuildCaches } from "../toolchain/modules.ts";
import { ensurePulumi } from "../toolchain/pulumi.ts";
import { insideLan, type LabInstance } from "./instance.ts";
import { type CommandResult, run } from "./shell.ts";

export const projectDirectory = resolve(import.meta.dirname, "..");

/** Pulumi's commands that read the stack's file. */
export const configured: readonly string[] = ["up", "preview", "destroy", "refresh", "config"];

/** A stack's file: its config and, once Pulumi wrote it, the salt of its secrets. */
export interface StackFile {
  config: Record<string, unknown>;
  encryptionsalt?: string;
}

export interface StackOptions {
  readonly instance: LabInstance;
  /** Name of the stack. */
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly log: (line: string) => void;
}

/** What tells Pulumi the backend and the passphrase of a lab instance's folder. */
export const backendIn = (directory: string) => ({
  // No file of attributes beside each that is written: it costs an MD5 of the state at each step, and a kill may leave it empty.
  PULUMI_BACKEND_URL: `file://${join(directory, "state")}?metadata=skip`,
  PULUMI_CONFIG_PASSPHRASE_FILE: join(directory, "passphrase"),
});

/** The environment in which Pulumi finds a stack: the user's own backend, else that of the lab if it holds the stack. */
export async function environmentOf(stack: string, log: (line: string) => void): Promise<NodeJS.ProcessEnv> {
  const environment = { ...process.env, ...(await ensurePulumi(log)) };
  const isElsewhere = Boolean(environment.PULUMI_BACKEND_URL || environment.PULUMI_ACCESS_TOKEN);
  const directory = join(projectDirectory, ".lab", stack);
  return !isElsewhere && existsSync(join(directory, "state"))
    ? { ...environment, ...backendIn(directory) }
    : environment;
}

/**
 * A stack of this project for a lab instance: backend, passphrase and the copy of its file that Pulumi writes to lie in the
 * instance's folder, so that a run leaves no trace in the project.
 */
export class LabStack {
  readonly name: string;
  readonly file: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly #prefix: readonly string[];

  private constructor(name: string, file: string, environment: Record<string, string>, prefix: readonly string[]) {
    this.name = name;
    this.file = file;
    this.environment = environment;
    this.#prefix = prefix;
  }

  /** The stack, made if it is not there. A backend of the user's own (PULUMI_BACKEND_URL, PULUMI_ACCESS_TOKEN) is used. */
  static async open(options: StackOptions): Promise<LabStack> {
    const { instance, name, log } = options;
    // Pulumi's Kubernetes plugin leaves a copy of the administrator's kubeconfig in the folder for temporary files.
    const temporary = join(instance.directory, "tmp");
    await mkdir(temporary, { recursive: true, mode: 0o700 });
    const environment: Record<string, string> = { ...(await ensurePulumi(log)), PULUMI_STACK: name, TMPDIR: temporary };
    if (!process.env.PULUMI_BACKEND_URL && !process.env.PULUMI_ACCESS_TOKEN) {
      const backend = backendIn(instance.directory);
      const passphrase = backend.PULUMI_CONFIG_PASSPHRASE_FILE;
      await mkdir(join(instance.directory, "state"), { recursive: true, mode: 0o700 });
      if (!existsSync(passphrase)) {
        await writeFile(passphrase, randomBytes(24).toString("base64url"), { mode: 0o600 });
      }
      Object.assign(environment, backend);
    }
    const file = join(instance.directory, `Pulumi.${name}.yaml`);
    const stack = new LabStack(name, file, environment, instance.reachable ? [] : insideLan(instance));
    if (!existsSync(join(instance.directory, "state", ".pulumi", "stacks", "plainkube", `${name}.json`))) {
      await stack.#make(instance.directory);
    }
    await stack.configure(options.config);
    return stack;
  }

  /** Makes the stack in a folder of its own: Pulumi writes the salt of its secrets beside the project that it finds. */
  async #make(directory: string): Promise<void> {
    const folder = join(directory, "stack");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "Pulumi.yaml"), "name: plainkube\nruntime: nodejs\n");
    const made = await this.pulumi(["stack", "select", "--create", this.name, "--cwd", folder]);
    if (made.code !== 0) throw new Error(`the stack ${this.name} could not be made:\n${made.stderr}${made.stdout}`);
    const written = join(folder, `Pulumi.${this.name}.yaml`);
    if (existsSync(written)) await copyFile(written, this.file);
    await rm(folder, { recursive: true });
  }

  /** Replaces the stack's configuration. */
  async configure(config: Readonly<Record<string, unknown>>): Promise<void> {
    const old: StackFile | null = existsSync(this.file) ? parse(await readFile(this.file, "utf8")) : null;
    const file: StackFile = {
      ...(old?.encryptionsalt && { encryptionsalt: old.encryptionsalt }),
      config: { ...config },
    };
    await writeFile(this.file, stringify(file), { mode: 0o600 });
    await chmod(this.file, 0o600);
  }

  /** The command line of a Pulumi command on this stack. */
  command(args: readonly string[]): string[] {
    const takesConfig = configured.includes(args[0] ?? "");
    return [...this.#prefix, "pulumi", ...args, ...(takesConfig ? ["--config-file", this.file] : [])];
  }

  /** Runs a Pulumi command on this stack to its end. */
  pulumi(args: readonly string[]): Promise<CommandResult> {
    return run(this.command([...args, "--non-interactive"]), {
      cwd: projectDirectory,
      env: { ...process.env, ...this.environment },
    });
  }

  /** The stack's outputs, secrets included. */
  async outputs(): Promise<Record<string, unknown>> {
    const shown = await this.pulumi(["stack", "output", "--json", "--show-secrets"]);
    if (shown.code !== 0) throw new Error(`the stack's outputs cannot be read:\n${shown.stderr}`);
    return JSON.parse(shown.stdout);
  }
}

/** The configuration that `Pulumi.<name>.yaml` of the examples or of the project holds. Throws if there is no such stack. */
export async function stackConfig(name: string): Promise<Record<string, unknown>> {
  // The examples first: a copy of one in the project is for hosts of one's own.
  const paths = ["examples/", ""].map((folder) => `${folder}Pulumi.${name}.yaml`);
  const found = paths.find((path) => existsSync(join(projectDirectory, path)));
  if (!found) throw new Error(`stack ${name}: got no file, expected ${paths.join(" or ")}; correct the name`);
  const file: StackFile = parse(await readFile(join(projectDirectory, found), "utf8"));
  return file.config;
}

/** Everything that `pulumi up` needs on this machine: the tools, and the binaries for the hosts. */
export async function prepare(
  config: Readonly<Record<string, unknown>>,
  log: (line: string) => void,
): Promise<{ readonly kubectl: string }> {
  return withBuildCaches(async () => {
    await ensurePulumi(log);
    const raw = Object.entries(config).map(([key, value]) => [key.replace(/^plainkube:/, ""), value]);
    const choices = clusterSchema.safeParse(Object.fromEntries(raw)).data;
    const versions = choices && supportedVersions[choices.versions.kubernetes];
    // A wrong configuration is reported by the program, with everything that is wrong.
    if (!versions) return { kubectl: "kubectl" };
    const settings = await resolveSource(choices.binaries, log);
    const names = [...new Set([...Object.values(stagesOf(choices)).flat(), "kubectl"])];
    const pins = pinsFor(names, versions, "amd64", settings);
    const { files } = await readyToSend(pins, settings, log);
    return { kubectl: files.get("kubectl")?.path ?? "kubectl" };
  });
}
