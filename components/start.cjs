// Loaded by Node before Pulumi's SDK and the program (`nodeargs` in Pulumi.yaml): what makes both start sooner.
require("./compile-cache.cjs");
const { createRequire } = require("node:module");

const sdk = createRequire(require.resolve("@pulumi/pulumi"));

/** Gives a module of the SDK, if it is installed, other exports. */
function replace(name, exportsOf) {
  let path;
  try {
    path = sdk.resolve(name);
  } catch {
    return;
  }
  require.cache[path] = { id: path, filename: path, loaded: true, children: [], paths: [], exports: exportsOf(path) };
}

/** The exports of a module that is loaded when one of them is used. */
function later(path) {
  let real;
  const load = () => {
    if (!real) {
      delete require.cache[path];
      real = sdk(path);
    }
    return real;
  };
  return new Proxy({}, { get: (_, key) => (key === "__esModule" ? true : load()[key]) });
}

// For programs that serialize functions, which this one does not.
replace("@npmcli/arborist", later);
replace("typescript", later);

// For programs that are compiled: Node takes types away without moving what stays, so every position is right already.
// The SDK takes a stack for each of its promises, and looks up every line of it.
replace("source-map-support/register", () => ({}));
