// Loaded by Node before a program of ours that is started often: its modules are compiled once.
const { enableCompileCache } = require("node:module");
const { join } = require("node:path");

// Compiled code, and TypeScript without its types, are kept beside the modules that they are made of: whoever may write
// there may write the modules, too. Where nothing can be written, nothing is kept.
enableCompileCache(join(__dirname, "../node_modules/.cache/plainkube"));
