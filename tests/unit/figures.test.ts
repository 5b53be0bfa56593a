import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { figuresVariable, noteFigures, summarize, trial } from "../figures.ts";
import { useTemporary } from "../toolchain/temporary.ts";

const temporary = useTemporary();

test("figures are summed by kind, and a trial that throws has not held", async () => {
  const file = join(temporary.dir, "figures");
  await writeFile(file, "");
  process.env[figuresVariable] = file;
  assert.deepEqual(summarize(file), []);
  assert.equal(await trial("faults", () => 7), 7);
  await assert.rejects(
    trial("faults", () => Promise.reject(new Error("no"))),
    /no/,
  );
  noteFigures("teardowns", 900, 898);
  noteFigures("teardowns", 100, 100);
  assert.deepEqual(summarize(file), [
    "faults: 1 survived of 2 tried",
    "differences after teardown: 2 in 1000 facts compared",
  ]);
});
