import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { lastLines } from "../lab/shell.ts";
import { backendIn, projectDirectory } from "../lab/stack.ts";
import { ensurePulumi } from "../toolchain/pulumi.ts";
import { growth } from "./scale-fit.ts";
import { measure } from "./scale-process.ts";

/**
 * `node bench/scale-state.ts --resources=700,1400`: what the engine alone takes for an `up` of so many resources that do
 * nothing, each as large as one of this program. Its backend in a file writes the whole state at each step.
 */
export interface StateOptions {
  /** Numbers of resources. Default: 350, 700, 1400. */
  readonly resources?: readonly number[];
  /** Bytes that each holds. Default: 3000. */
  readonly bytes?: number;
}

const directory = join(projectDirectory, ".lab", "scale-st");

export async function scaleState({ resources = [350, 700, 1400], bytes = 3000 }: StateOptions = {}): Promise<void> {
  console.log("resources  seconds  CPU s  peak MiB  state KiB");
  const seen: [number, number][] = [];
  const environment = {
    ...process.env,
    ...(await ensurePulumi((line) => console.error(line))),
    ...backendIn(directory),
  };
  for (const count of resources) {
    await rm(directory, { recursive: true, force: true });
    try {
      await makeProject(count, bytes);
      const run = (args: string[]) =>
        measure(["pulumi", ...args, "--cwd", directory, "--non-interactive"], { cwd: directory, env: environment });
      const made = await run(["stack", "init", "dev"]);
      const up = made.code === 0 ? await run(["up", "--yes", "--skip-preview", "--suppress-progress"]) : made;
      if (up.code !== 0) throw new Error(`pulumi ended with code ${up.code}, expected 0:\n${lastLines(up.output, 20)}`);
      const { size } = await stat(join(directory, "state/.pulumi/stacks/scale-state/dev.json"));
      const figures = [count, up.seconds.toFixed(1), up.cpuSeconds.toFixed(1), up.peakMiB.toFixed(0), size >> 10];
      console.log(figures.map((figure, i) => String(figure).padStart([9, 8, 6, 9, 10][i] ?? 0)).join(" "));
      seen.push([count, up.seconds]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  const [small, large] = [seen.at(-2), seen.at(-1)];
  if (small && large) console.log(`the time grows with the power ${growth(small, large).toFixed(2)} of the resources`);
}

async function makeProject(count: number, bytes: number): Promise<void> {
  await mkdir(join(directory, "state"), { recursive: true, mode: 0o700 });
  const files = {
    passphrase: "nobody's\n",
    "Pulumi.yaml": "name: scale-state\nmain: index.ts\nruntime: {name: nodejs, options: {typescript: false}}\n",
    "package.json": '{"name": "scale-state", "type": "module", "main": "index.ts"}\n',
    "index.ts": `import { RandomId } from "@pulumi/random";
for (let i = 0; i < ${count}; i++) new RandomId(\`one-\${i}\`, { byteLength: 4, keepers: { text: "x".repeat(${bytes}) } });\n`,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text, { mode: 0o600 });
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { resources: { type: "string" }, bytes: { type: "string" } } });
  await scaleState({
    ...(values.resources && { resources: values.resources.split(",").map(Number) }),
    ...(values.bytes && { bytes: Number(values.bytes) }),
  });
}
