import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** How a finished command ended. `code` is 128 + 9 when it was killed, by its time limit for instance. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Text for standard input; default none. */
  readonly input?: string;
  /** Working directory; default the program's own. */
  readonly cwd?: string;
  /** The whole environment; default the program's own. */
  readonly env?: NodeJS.ProcessEnv;
  /** Kills the command after so many seconds; default no limit. */
  readonly timeoutSeconds?: number;
  /** Called with each line of output while the command runs; default silent. */
  readonly onLine?: (line: string) => void;
}

/** Runs a command to its end and returns how it ended. Throws only when it cannot be started. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
  const [program = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: "pipe",
      ...(options.cwd && { cwd: options.cwd }),
      ...(options.env && { env: options.env }),
      ...(options.timeoutSeconds && { timeout: options.timeoutSeconds * 1000, killSignal: "SIGKILL" }),
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    if (options.onLine) {
      createInterface(child.stdout).on("line", options.onLine);
      createInterface(child.stderr).on("line", options.onLine);
    }
    child.on("error", (cause) => reject(new Error(`cannot run ${program}: ${cause.message}`, { cause })));
    child.on("close", (code) => resolve({ code: code ?? 137, stdout, stderr }));
    // A command that ends without reading its input is judged by its exit code, not by the broken pipe.
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
  });
}

/** Runs a command that has to succeed and returns its standard output. Throws with the command and the end of its output. */
export async function must(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code !== 0) {
    const tail = lastLines(result.stderr.trim() || result.stdout, 15);
    throw new Error(`\`${argv.join(" ")}\` ended with code ${result.code}, expected 0:\n${tail}`);
  }
  return result.stdout;
}

export function lastLines(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
