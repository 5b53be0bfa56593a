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
  return new Proxy(
    {},
    {
      get: (_, key) => (key === "__esModule" ? true : load()[key]),
      has: (_, key) => key in load(),
      ownKeys: () => Reflect.ownKeys(load()),
      getOwnPropertyDescriptor: (_, key) => {
        const found = Reflect.getOwnPropertyDescriptor(load(), key);
        return found && { ...found, configurable: true };
      },
    },
  );
}

// For programs that serialize functions, which this one does not.
replace("@npmcli/arborist", later);
replace("typescript", later);

// For programs that drive Pulumi.
replace("@pulumi/pulumi/automation", later);
// It connects to V8's inspector, which tells of every script then, to name functions that cannot be serialized.
replace("@pulumi/pulumi/runtime/closure/v8Hooks", (path) => ({
  isInitializedAsync: async () => {},
  __proto__: later(path),
}));
// OpenTelemetry, unless it is asked for. A span is told a few things and ended.
const isTraced =
  process.env.TRACEPARENT ||
  process.argv.some((word, i, all) => word.startsWith("--tracing=") || (word === "--tracing" && all[i + 1]));
if (!isTraced) {
  const ignored = () => {};
  const newSpan = () => new Proxy({}, { get: () => ignored });
  replace("@pulumi/pulumi/cmd/run/tracing", () => ({ start: ignored, stop: ignored, newSpan }));
}

// For programs that are compiled: Node takes types away without moving what stays, so every position is right already.
// The SDK takes a stack for each of its promises, and looks up every line of it.
replace("source-map-support/register", () => ({}));

// To load parts of the SDK here is too early for OpenTelemetry.
if (!isTraced) {
  // The SDK takes and writes out a stack for each of its promises, for a message about promises that never end. It goes without
  // unless that is asked for.
  if (!process.env.PULUMI_DEBUG_PROMISE_LEAKS) {
    change("@pulumi/pulumi/runtime/debuggable", ({ debuggablePromise }) => ({
      debuggablePromise: (...args) => {
        const { stackTraceLimit } = Error;
        Error.stackTraceLimit = 0;
        try {
          return debuggablePromise(...args);
        } finally {
          Error.stackTraceLimit = stackTraceLimit;
        }
      },
    }));
  }
  change("@pulumi/pulumi/log", bundled);
}

/** Gives a module of the SDK other functions, made of those that it has; another version of the SDK may not have it. */
function change(name, changesOf) {
  try {
    const module = sdk(name);
    Object.assign(module, changesOf({ ...module }));
  } catch {
    // It does without.
  }
}

/**
 * The SDK tells the engine of some five debug messages a resource, each in a call of its own and one after the other, and
 * only the engine knows whether `--debug` asks for them. They go as lines of one message, ten times a second, and before any other.
 */
function bundled(log) {
  let lines = [];
  let timer;
  const send = () => {
    clearTimeout(timer);
    timer = undefined;
    const text = lines.join("\n");
    lines = [];
    return text && log.debug(text);
  };
  // The timer alone does not keep the program running.
  process.on("beforeExit", send);
  const after =
    (write) =>
    (...args) => {
      send();
      return write(...args);
    };
  return {
    debug(message, ...about) {
      if (about.length > 0) return after(log.debug)(message, ...about);
      lines.push(message);
      timer ??= setTimeout(send, 100).unref();
      return Promise.resolve();
    },
    info: after(log.info),
    warn: after(log.warn),
    error: after(log.error),
  };
}
