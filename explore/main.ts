import { once } from "node:events";
import { parseArgs } from "node:util";
import { obtain, resolveSource } from "../components/binaries/obtain.ts";
import { pinsFor } from "../components/binaries/pins.ts";
import { sshTarget } from "../components/host/ssh.ts";
import type { ClusterSpec } from "../components/spec.ts";
import type { StoredFile } from "../toolchain/cache.ts";
import { buildRecipe, hostArch, recipe } from "../toolchain/modules.ts";
import { ApiServer, readKubeconfig } from "./api.ts";
import { EtcdReader } from "./etcd.ts";
import { explorer } from "./server.ts";
import { readStack } from "./stack.ts";
import { programDecoder } from "./stored.ts";

const usage = `npm run api:explore -- [OPTION…]: a page on 127.0.0.1 with the API of a stack in Swagger UI and what its etcd stores

  --stack NAME        the stack; default $PULUMI_STACK, else dev
  --config-file FILE  its file; default Pulumi.NAME.yaml, or the lab's copy of it
  --port PORT         port on 127.0.0.1; default 8765
  --show-secrets      show the values of Secrets, which are hidden otherwise`;

const log = (line: string): void => console.error(line);

/** The decoder of what is stored in protobuf; without it (no Go, say) the page shows everything else. */
async function decoderProgram(): Promise<string> {
  const built = await buildRecipe(recipe("etcd-decode"), { arch: hostArch(), log });
  return built["etcd-decode"]?.path ?? "";
}

async function etcdctl(spec: ClusterSpec): Promise<StoredFile> {
  const settings = await resolveSource(spec.binaries, log);
  const files = await obtain(pinsFor(["etcdctl"], spec.versions, "amd64", settings), settings, log);
  const file = files.get("etcdctl");
  if (!file) throw new Error("no file was obtained for etcdctl");
  return file;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      stack: { type: "string", default: process.env.PULUMI_STACK || "dev" },
      "config-file": { type: "string" },
      port: { type: "string", default: "8765" },
      "show-secrets": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(usage);
  const { stack } = values;
  if (!/^[A-Za-z0-9][A-Za-z0-9._/-]*$/.test(stack)) {
    throw new Error(`--stack: got ${JSON.stringify(stack)}, expected the name of a stack, like dev`);
  }
  const port = Number(values.port);
  if (!/^\d+$/.test(values.port) || port < 1 || port > 65535) {
    throw new Error(`--port: got ${values.port}, expected a port from 1 to 65535`);
  }

  const { spec, kubeconfig } = await readStack({ stack, configFile: values["config-file"], log });
  if (spec.system === "minimal") {
    throw new Error(
      `stack ${stack}: got the system minimal, expected cluster or api-only, whose etcd asks for certificates; see docs/api-explore.md`,
    );
  }
  const host = spec.controlPlane;
  const program = await decoderProgram().catch((error: Error) => {
    log(`what is stored in protobuf will not be decoded: ${error.message}`);
    return error;
  });
  const api = new ApiServer(readKubeconfig(kubeconfig));
  const etcd = new EtcdReader({
    host: host.name,
    // Somebody waits for the answer.
    target: { ...sshTarget(spec, host), dialAttempts: 1 },
    password: spec.ssh.privateKeyPassword ?? "",
    etcdctl: () => etcdctl(spec),
  });
  const decode = programDecoder(async () => {
    if (program instanceof Error) throw program;
    return program;
  });
  const server = explorer({
    stack,
    apiEndpoint: spec.apiEndpoint,
    api,
    etcd,
    decode,
    showSecrets: values["show-secrets"],
  });
  // Never another address: whoever reaches the page is the administrator.
  server.listen({ host: "127.0.0.1", port });
  await once(server, "listening").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EADDRINUSE") throw error;
    throw new Error(
      `port ${port} of 127.0.0.1 is in use; expected a free one. End what listens there, or choose another: npm run api:explore -- --port ${port + 1}`,
    );
  });
  console.log(`http://127.0.0.1:${port} shows stack ${stack} (${spec.apiEndpoint}), read only; Ctrl-C ends it`);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      server.close();
      server.closeAllConnections();
      api.close();
      void etcd.close();
    });
  }
}

try {
  await main();
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  console.error(`plainkube: ${message}${code?.startsWith("ERR_PARSE_ARGS") ? `\n${usage}` : ""}`);
  process.exitCode = 1;
}
