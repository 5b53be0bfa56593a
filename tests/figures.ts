import { appendFileSync, readFileSync } from "node:fs";

/**
 * What the suite has found out about trust, summed over all test files: each notes its own, `npm test` prints the sums at
 * its end. A test that fails has noted what it tried, and is missing in what held.
 */

const kinds = {
  faults: (tried: number, held: number) => `faults: ${held} survived of ${tried} tried`,
  teardowns: (tried: number, held: number) => `differences after teardown: ${tried - held} in ${tried} facts compared`,
  badInputs: (tried: number, held: number) => `bad inputs: ${held} refused as expected of ${tried} tried`,
  secrets: (tried: number, held: number) =>
    `secrets: ${tried - held} found where they must not be, of ${tried} looked for`,
};

export type FigureKind = keyof typeof kinds;

/** Where the figures of a run are gathered, a line each; unset where a test runs by itself. */
export const figuresVariable = "PLAINKUBE_FIGURES";

/** Notes how much was tried, and how much of it held. */
export function noteFigures(kind: FigureKind, tried: number, held: number): void {
  const file = process.env[figuresVariable];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ kind, tried, held })}\n`);
}

/** Runs one trial of a kind and notes it: held where it returns, not held where it throws. */
export async function trial<T>(kind: FigureKind, body: () => T | Promise<T>): Promise<T> {
  let held = 0;
  try {
    const result = await body();
    held = 1;
    return result;
  } finally {
    noteFigures(kind, 1, held);
  }
}

/** The sums of a file of figures, a line a kind; kinds that nothing was tried of are left out. */
export function summarize(file: string): string[] {
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  const notes = lines.map((line) => JSON.parse(line) as { kind: FigureKind; tried: number; held: number });
  return (Object.keys(kinds) as FigureKind[]).flatMap((kind) => {
    const own = notes.filter((note) => note.kind === kind);
    const sum = (of: "tried" | "held") => own.reduce((total, note) => total + note[of], 0);
    return own.length > 0 ? [kinds[kind](sum("tried"), sum("held"))] : [];
  });
}
