import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { sleep } from "../../lab/shell.ts";

/** Objects of a kind as they change: what the fields of each are now. */
export class Watch {
  readonly #objects = new Map<string, string[]>();
  readonly #command: readonly string[];
  #child: ChildProcess | undefined;

  /** `kubectl`: the command up to the verb; `what`: arguments of `get`; `fields`: paths in the object, beside its name. */
  constructor(kubectl: readonly string[], what: readonly string[], fields: readonly string[]) {
    const printed = ["{.type}", "{.object.metadata.name}", ...fields.map((field) => `{.object${field}}`)].join("|");
    const format = `jsonpath=${printed}{"\\n"}`;
    // More than a chunk would come as lists in a list, without a name.
    const whole = ["--watch", "--output-watch-events", "--chunk-size=0"];
    this.#command = [...kubectl, "get", ...what, ...whole, "--output", format];
    this.#begin();
  }

  #begin(): void {
    const [program = "", ...args] = this.#command;
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#child = child;
    // The API server ends a watch that does not keep up: a new one begins with what is there.
    child.once("close", () => {
      if (this.#child === child) this.#begin();
    });
    createInterface(child.stdout).on("line", (line) => {
      const [event, name = "", ...values] = line.split("|");
      if (event === "DELETED") this.#objects.delete(name);
      else if (event === "ADDED" || event === "MODIFIED") this.#objects.set(name, values);
    });
  }

  /** How many objects there are whose fields pass. */
  count(passes: (values: readonly string[]) => boolean = () => true): number {
    return [...this.#objects.values()].filter(passes).length;
  }

  /** Waits until so many objects pass. Returns the seconds that took, or undefined after the time limit. */
  async until(
    count: number,
    passes: (values: readonly string[]) => boolean,
    limitSeconds: number,
  ): Promise<number | undefined> {
    const began = performance.now();
    for (;;) {
      const seconds = (performance.now() - began) / 1000;
      if (this.count(passes) >= count) return seconds;
      if (seconds > limitSeconds) return undefined;
      await sleep(50);
    }
  }

  stop(): void {
    const child = this.#child;
    this.#child = undefined;
    child?.kill();
  }
}
