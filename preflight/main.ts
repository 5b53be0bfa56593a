import { parseArgs } from "node:util";
import { openStack } from "../explore/stack.ts";
import { checkHosts, describeReports } from "./check.ts";

const usage = `npm run preflight [-- OPTION…]: looks whether all hosts of a stack are ready, as the first \`pulumi up\` does, and changes nothing

  --stack NAME        the stack; default $PULUMI_STACK, else dev
  --config-file FILE  its file; default Pulumi.NAME.yaml, or the lab's copy of it

Ends with 0 if all are ready, else with 1.`;

const log = (line: string): void => console.error(line);

/** What tells the stack's cluster from every other; "" before the first \`up\`. */
function clusterOf(exported: string): string {
  const { deployment } = JSON.parse(exported) as {
    deployment?: { resources?: { urn: string; type: string; outputs?: { hex?: string } }[] };
  };
  const isCluster = ({ urn, type }: { urn: string; type: string }) =>
    type === "random:index/randomId:RandomId" && urn.endsWith("::cluster");
  return deployment?.resources?.find(isCluster)?.outputs?.hex ?? "";
}

function options() {
  try {
    return parseArgs({
      options: {
        stack: { type: "string", default: process.env.PULUMI_STACK || "dev" },
        "config-file": { type: "string" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new Error(`${(error as Error).message}; expected what follows.\n${usage}`);
  }
}

async function main(): Promise<number> {
  const values = options();
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const { stack, "config-file": configFile } = values;
  const { spec, pulumi } = await openStack({ stack, configFile, log }, "npm run preflight");
  const reports = await checkHosts(spec, clusterOf(await pulumi("stack", "export")));
  console.log(describeReports(reports));
  return reports.every(({ problems }) => problems.length === 0) ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`plainkube: ${(error as Error).message}`);
  process.exitCode = 1;
}
