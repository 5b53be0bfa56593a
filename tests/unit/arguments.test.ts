/** What the programs of the project say to arguments that they do not know; nothing is begun. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { run } from "../../lab/shell.ts";
import { trial } from "../figures.ts";
import { projectDirectory } from "./clusters.ts";

const lab = "usage: npm run lab [-- [--stack=NAME] [up | down | pulumi ARGUMENT…]]";
/** Command line → the first line of the answer. */
const answers: Readonly<Record<string, string>> = {
  "lab/main.ts --bad": `--bad is no command of the lab; ${lab}`,
  "lab/main.ts bad": `bad is no command of the lab; ${lab}`,
  "lab/main.ts up twice": `twice: got more than up; ${lab}`,
  "lab/main.ts down --bad": `--bad: got more than down; ${lab}`,
  "lab/main.ts --stack=../../etc": `--stack=../../etc: expected --stack=NAME with a name of a-z, 0-9 and -, like --stack=full; ${lab}`,
  "lab/main.ts --stack": `--stack: expected --stack=NAME with a name of a-z, 0-9 and -, like --stack=full; ${lab}`,
  "lab/main.ts --stack=nobody":
    "stack nobody: got no file, expected examples/Pulumi.nobody.yaml or Pulumi.nobody.yaml; correct the name",
  "lab/main.ts --stack=nobody pulumi preview":
    "there is no lab of stack nobody here; make it with `npm run lab -- --stack=nobody`",
  "conformance/main.ts --bad": "Unknown option '--bad'",
  "conformance/main.ts bad": "Unexpected argument 'bad'. This command does not take positional arguments",
  "conformance/main.ts --part=3/2": "--part: got 3/2, expected i/n with i from 1 to n, such as 2/3",
  "conformance/main.ts --procs=0": "--procs: got 0, expected a whole number above 0",
  "conformance/main.ts --timeout=1h": "--timeout: got 1h, expected a whole number above 0",
  "conformance/main.ts --focus=[": "--focus: got [, expected a regular expression",
  "explore/main.ts --bad": "Unknown option '--bad'",
  "explore/main.ts bad": "Unexpected argument 'bad'. This command does not take positional arguments",
  "explore/main.ts --port=0": "--port: got 0, expected a port from 1 to 65535",
  "explore/main.ts --port=65536": "--port: got 65536, expected a port from 1 to 65535",
  "explore/main.ts --port": "Option '--port <value>' argument missing",
  "explore/main.ts --stack=": '--stack: got "", expected the name of a stack, like dev',
  "explore/main.ts --stack=-h": '--stack: got "-h", expected the name of a stack, like dev',
  "tests/run.ts no/such": "no test file at no/such; expected a path like tests/unit",
};

describe("bad arguments", { concurrency: 2 }, () => {
  for (const [line, answer] of Object.entries(answers)) {
    test(line, () =>
      trial("badInputs", async () => {
        const { code, stdout, stderr } = await run(["node", ...line.split(" ")], { cwd: projectDirectory });
        assert.deepEqual([code, stdout, stderr.split("\n")[0]], [1, "", `plainkube: ${answer}`]);
        assert.doesNotMatch(stderr, /^ +at /m);
        assert.ok(!existsSync(join(projectDirectory, ".lab", "nobody")));
      }),
    );
  }
});
