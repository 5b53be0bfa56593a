// Runs a program for the language host 3.68, the newest that can be built: it takes Pulumi.yaml's runtime options by flags,
// while newer engines hand them over by a request that it does not read. PULUMI_LANGUAGE_NODEJS_RUN_PATH names this file
// (../pulumi.ts). Of `nodeargs`, --require is obeyed.
const { readFileSync } = require("node:fs");
const { resolve } = require("node:path");
const { parseArgs } = require("node:util");
const { parse } = require("yaml");

// The host starts Node in the project's folder.
const { options = {} } = parse(readFileSync("Pulumi.yaml", "utf8")).runtime;
const args = (options.nodeargs ?? "").split(" ").filter(Boolean);
const { require: files = [] } = parseArgs({ args, options: { require: { type: "string", multiple: true } } }).values;
for (const file of files) require(resolve(file));
if (options.typescript === false) delete process.env.PULUMI_NODEJS_TYPESCRIPT;
require("@pulumi/pulumi/cmd/run");
