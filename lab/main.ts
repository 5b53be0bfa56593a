import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { clusterSchema } from "../components/schema.ts";
import { visible } from "../components/shown.ts";
import { environmentFile } from "./environment.ts";
import { createInstance, destroyInstance, type LabInstance, runOnHost } from "./instance.ts";
import { prepareMachine } from "./machine.ts";
import { LabStack, prepare, projectDirectory, stackConfig } from "./stack.ts";

const usage = "usage: npm run lab [-- [--stack=NAME] [up | down | pulumi ARGUMENT…]]";

const isStack = /^--stack=([a-z][a-z0-9-]*)$/;
const stackOption = process.argv.map((argument) => isStack.exec(argument)?.[1]).find(Boolean);
/** The stack and the instance of the lab that holds it. */
const name = stackOption ?? "dev";
const directory = join(projectDirectory, ".lab", name);
const began = performance.now();

function log(line: string): void {
  const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(6);
  console.error(`[${seconds} s] ${line}`);
}

/** The commands that bring this stack up, and down. */
const again = stackOption ? `npm run lab -- --stack=${name}` : "npm run lab";
const downCommand = stackOption ? `${again} down` : "npm run lab:down";

/** The hosts that the stack's file names, as running machines. */
async function hosts(config: Readonly<Record<string, unknown>>): Promise<LabInstance> {
  const wanted = clusterSchema.shape.hosts.parse(config["plainkube:hosts"]);
  return createInstance({ name, directory, hosts: wanted, reachable: true, log });
}

async function open(): Promise<{ instance: LabInstance; stack: LabStack; kubectl: string }> {
  const config = await stackConfig(name);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await prepareMachine(log);
  // The hosts' base image is made while programs are built. Neither is left half-way when the other fails.
  const [prepared, made] = await Promise.allSettled([prepare(config, log), hosts(config)]);
  if (prepared.status === "rejected") throw prepared.reason;
  if (made.status === "rejected") throw made.reason;
  const { kubectl } = prepared.value;
  const instance = made.value;
  const stack = await LabStack.open({ instance, name, config, log });
  return { instance, stack, kubectl };
}

/** Runs a program in the foreground and returns its exit code. */
async function foreground(command: readonly string[], environment: Readonly<Record<string, string>>): Promise<number> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    cwd: projectDirectory,
    env: { ...process.env, ...environment },
    stdio: ["inherit", "inherit", "inherit"],
  });
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}

async function up(): Promise<number> {
  const { instance, stack, kubectl } = await open();
  log(`hosts ${instance.hosts.map((h) => `${h.name} (${h.address})`).join(", ")} answer SSH`);
  log("pulumi up");
  const code = await foreground(
    stack.command(["up", "--yes", "--skip-preview", "--suppress-outputs", "--diff=false", "--non-interactive"]),
    stack.environment,
  );
  if (code !== 0) {
    log(
      `pulumi up failed; its message stands above. Correct the cause and run \`${again}\` again: it goes on from there.`,
    );
    return code;
  }
  const outputs = await stack.outputs();
  const kubeconfig = join(directory, "kubeconfig");
  await writeFile(kubeconfig, String(outputs.kubeconfig), { mode: 0o600 });
  const bin = join(directory, "bin");
  await mkdir(bin, { recursive: true });
  await rm(join(bin, "kubectl"), { force: true });
  await symlink(kubectl, join(bin, "kubectl"));
  await writeFile(join(directory, "env"), environmentFile(stack, kubeconfig, bin), { mode: 0o600 });

  const answered = outputs.serviceAddress
    ? await showService(instance, String(outputs.serviceAddress), [kubectl, "--kubeconfig", kubeconfig])
    : (await foreground([kubectl, "--kubeconfig", kubeconfig, "version"], {})) === 0;
  if (!answered) {
    throw new Error(
      `all resources are there, but the cluster does not answer. Look at the hosts (\`ssh\`, journalctl), or begin anew: \`${downCommand}\`, then \`${again}\``,
    );
  }
  console.log(`\nCertificates are valid until ${outputs.certificateExpiry}. Go on with:`);
  console.log(`  source ${relative(process.cwd(), join(directory, "env"))}   # kubectl and pulumi for this stack`);
  console.log(outputs.serviceAddress ? "  kubectl get pods -A -o wide" : "  kubectl config get-contexts");
  log("the cluster answers");
  return 0;
}

/** Prints the nodes and what the proof's Service answers from each host; false if one of them fails. */
async function showService(instance: LabInstance, address: string, kubectl: readonly string[]): Promise<boolean> {
  console.log("\nNodes:");
  const asked = await foreground([...kubectl, "get", "nodes", "-o", "wide"], {});
  console.log(`\nThe Service at ${address}, asked from each host:`);
  const answers = await Promise.all(
    instance.hosts.map((host) => runOnHost(instance, host.name, `curl -sSf --max-time 10 http://${address}`)),
  );
  for (const [i, { name: host }] of instance.hosts.entries()) {
    console.log(`  ${host}: ${visible((answers[i]?.stdout || answers[i]?.stderr || "").trim())}`);
  }
  return asked === 0 && answers.every(({ code }) => code === 0);
}

async function down(): Promise<number> {
  await destroyInstance(name, directory, log);
  await rm(directory, { recursive: true, force: true });
  log("the lab is gone; its caches stay for the next time");
  return 0;
}

async function main(args: readonly string[]): Promise<number> {
  const [command = "up", ...rest] = args;
  if (command.startsWith("--stack")) {
    throw new Error(`${command}: expected --stack=NAME with a name of a-z, 0-9 and -, like --stack=full; ${usage}`);
  }
  if (command !== "pulumi" && rest.length > 0) throw new Error(`${rest.join(" ")}: got more than ${command}; ${usage}`);
  switch (command) {
    case "up":
      return up();
    case "down":
      return down();
    case "pulumi": {
      if (!existsSync(directory)) throw new Error(`there is no lab of stack ${name} here; make it with \`${again}\``);
      const { stack } = await open();
      return foreground(stack.command(rest), stack.environment);
    }
    default:
      throw new Error(`${command} is no command of the lab; ${usage}`);
  }
}

try {
  process.exitCode = await main(process.argv.slice(2).filter((argument) => !isStack.test(argument)));
} catch (error) {
  console.error(`plainkube: ${(error as Error).message}`);
  process.exitCode = 1;
}
