import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { hollowBy } from "./hollow/main.ts";
import { benchKubeadm } from "./kubeadm.ts";
import { benchDirectory, removeHosts } from "./lab.ts";
import { figures, Measurements } from "./measurements.ts";
import { benchProgram } from "./program.ts";
import { report, shown } from "./report.ts";
import { type Part, parts, type Round } from "./round.ts";
import { scaleBy } from "./scale.ts";
import { benchScript } from "./script.ts";
import { benchUpload } from "./upload.ts";

const usage = `usage: npm run bench [-- [--rounds=N] [--only=${parts.join(",")}] [--contenders=script,kubeadm,pulumi] [--out=FOLDER]], or npm run bench -- scale | hollow (docs/scale.md)`;

/** Contender → one round of it, with what it makes beside figures in `out`. */
const contenders: Readonly<Record<string, (round: Round, out: string) => Promise<void>>> = {
  script: benchScript,
  kubeadm: benchKubeadm,
  pulumi: benchProgram,
};

interface Options {
  readonly rounds: number;
  readonly parts: ReadonlySet<Part>;
  readonly contenders: readonly string[];
  readonly out: string;
}

/** Reads the command line. Throws on what is none. */
function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      only: { type: "string", default: parts.join() },
      contenders: { type: "string", default: Object.keys(contenders).join() },
      out: { type: "string", default: benchDirectory },
    },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`--rounds: got ${values.rounds}, expected 1 or more; ${usage}`);
  const listed = <T extends string>(option: string, text: string, known: readonly T[]): T[] =>
    text.split(",").map((word) => {
      const found = known.find((one) => one === word);
      if (found === undefined)
        throw new Error(`--${option}: got ${word}, expected some of ${known.join(", ")}; ${usage}`);
      return found;
    });
  return {
    rounds,
    parts: new Set(listed("only", values.only, parts)),
    contenders: listed("contenders", values.contenders, Object.keys(contenders)),
    out: resolve(values.out),
  };
}

async function main(): Promise<void> {
  const options = readOptions();
  await mkdir(options.out, { recursive: true });
  const began = performance.now();
  const log = (line: string) =>
    console.error(`[${((performance.now() - began) / 1000).toFixed(0).padStart(5)} s] ${line}`);
  const measurements = new Measurements((figure, value) => log(`  ${figure}: ${shown(value, figures[figure])}`));
  const round: Round = { parts: options.parts, measurements, log };
  const { parts: wanted, out } = options;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void removeHosts(log).finally(() => process.exit(130)));
  }
  try {
    for (let i = 1; i <= options.rounds; i++) {
      // By turns, so that what else the machine does meets all alike.
      for (const name of wanted.has("first") || wanted.has("changes") ? options.contenders : []) {
        log(`round ${i} of ${options.rounds}: ${name}`);
        await contenders[name]?.(round, out);
      }
      if (wanted.has("upload")) {
        log(`round ${i} of ${options.rounds}: upload`);
        await benchUpload(round);
      }
    }
  } finally {
    // What was measured before something failed is worth its time, too.
    const text = report(measurements.summaries);
    console.log(text);
    try {
      await writeFile(join(out, "results.json"), `${JSON.stringify(measurements.values, null, 2)}\n`);
      await writeFile(join(out, "results.txt"), text);
    } finally {
      await removeHosts(log);
    }
  }
}

// Its stacks bear the names of others: a backend of the user's own may hold a cluster under one of them.
for (const name of ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"]) Reflect.deleteProperty(process.env, name);
const [command, ...rest] = process.argv.slice(2);
try {
  if (command === "scale") await scaleBy(rest);
  else if (command === "hollow") await hollowBy(rest);
  else await main();
} catch (error) {
  console.error(`plainkube: ${(error as Error).message}`);
  process.exitCode = 1;
}
