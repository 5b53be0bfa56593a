import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Milliseconds after which the program is killed. */
  readonly timeout: number;
  /** Receives each line of both outputs as it comes. */
  readonly onLine?: (line: string) => void;
}

/**
 * Runs a program to its end and returns its standard output. Throws if it cannot be started, fails or exceeds its time,
 * with the last lines that it wrote.
 */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = spawn(command, args, { cwd: options.cwd, env: options.env, stdio: ["ignore", "pipe", "pipe"] });
  const shown = [command, ...args].join(" ");
  const tail: string[] = [];
  let stdout = "";
  let late = false;
  const take = (line: string) => {
    tail.push(line);
    if (tail.length > 40) tail.shift();
    options.onLine?.(line);
  };
  createInterface({ input: child.stdout }).on("line", (line) => {
    stdout += `${line}\n`;
    take(line);
  });
  createInterface({ input: child.stderr }).on("line", take);
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, options.timeout);
  child.on("error", (error) => reject(new Error(`cannot start ${shown}: ${error.message}`)));
  child.on("close", (code, signal) => {
    clearTimeout(timer);
    if (code === 0) return resolve(stdout);
    const how = late
      ? `still ran after ${options.timeout / 1000} s`
      : signal
        ? `ended by ${signal}`
        : `exit code ${code}`;
    reject(new Error([`${shown}: ${how}; expected exit code 0`, ...tail].join("\n  ")));
  });
  return promise;
}

/** The first executable of this name on PATH and then in the `extra` folders, or undefined. */
export function which(name: string, extra: readonly string[] = []): string | undefined {
  const dirs = [...(process.env.PATH ?? "").split(delimiter).filter((dir) => dir !== ""), ...extra];
  return dirs.map((dir) => join(dir, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
