import { type ChildProcess, execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import engineService from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import type engineMessages from "@pulumi/pulumi/proto/engine_pb.js";
import type { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb.js";
import providerService from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import type {
  CheckResponse,
  CreateResponse,
  DiffResponse,
  GetSchemaResponse,
  InvokeResponse,
  ReadResponse,
  UpdateResponse,
} from "@pulumi/pulumi/proto/provider_pb.js";
import messages from "@pulumi/pulumi/proto/provider_pb.js";
import rpc from "@pulumi/pulumi/runtime/rpc.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import structs from "google-protobuf/google/protobuf/struct_pb.js";

/** A property value as it travels between engine and plugin. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Properties = { [key: string]: Json };

/** Marks a value as secret, as the engine does. */
export function secret(value: Json): Properties {
  return { [rpc.specialSigKey]: rpc.specialSecretSig, value };
}

export function fileAsset(path: string, hash: string): Properties {
  return { [rpc.specialSigKey]: rpc.specialAssetSig, path, hash };
}

export function textAsset(text: string, hash: string): Properties {
  return { [rpc.specialSigKey]: rpc.specialAssetSig, text, hash };
}

export function fileArchive(path: string, hash: string): Properties {
  return { [rpc.specialSigKey]: rpc.specialArchiveSig, path, hash };
}

/** What stands for a value that only the real run will know. */
export const unknown: string = rpc.unknownValue;

export interface Failure {
  readonly property: string;
  readonly reason: string;
}

export interface Diff {
  readonly changes: boolean;
  readonly diffs: readonly string[];
  readonly replaces: readonly string[];
}

export interface Log {
  readonly message: string;
  readonly severity: number;
  /** Shown beside the resource while it is at work, and not kept. */
  readonly ephemeral: boolean;
}

/** A running plugin, with as much of an engine as it needs: something to log to. */
export class Provider {
  readonly pid: number;
  readonly logs: Log[];
  readonly #process: ChildProcess;
  readonly #engine: grpc.Server;
  readonly #client: InstanceType<typeof providerService.ResourceProviderClient>;

  private constructor(process: ChildProcess, engine: grpc.Server, logs: Log[], port: string) {
    this.#process = process;
    this.pid = process.pid ?? 0;
    this.#engine = engine;
    this.logs = logs;
    this.#client = new providerService.ResourceProviderClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
    });
  }

  /** Starts a plugin the way the engine does: the engine's address is its argument, its own port is its first line. */
  static async start(binary: string, cwd: string, env: Record<string, string> = {}): Promise<Provider> {
    const logs: Log[] = [];
    const engine = new grpc.Server();
    engine.addService(engineService.EngineService, {
      log: (
        call: grpc.ServerUnaryCall<InstanceType<typeof engineMessages.LogRequest>, unknown>,
        done: grpc.sendUnaryData<unknown>,
      ) => {
        const request = call.request;
        logs.push({
          message: request.getMessage(),
          severity: request.getSeverity(),
          ephemeral: request.getEphemeral(),
        });
        done(null, new empty.Empty());
      },
    });
    const enginePort = await promisify(engine.bindAsync.bind(engine))(
      "127.0.0.1:0",
      grpc.ServerCredentials.createInsecure(),
    );
    const { SSH_AUTH_SOCK: _agent, ...inherited } = process.env;
    const plugin = spawn(binary, [`127.0.0.1:${enginePort}`], {
      cwd,
      env: { ...inherited, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    for await (const line of createInterface({ input: plugin.stdout })) {
      return new Provider(plugin, engine, logs, line);
    }
    throw new Error(`${binary} ended without saying its port`);
  }

  stop(): void {
    this.#client.close();
    this.#process.kill();
    this.#engine.forceShutdown();
  }

  /** As the engine's death looks to the plugin. */
  killEngine(): void {
    this.#engine.forceShutdown();
  }

  async check(type: string, inputs: Properties): Promise<{ inputs: Properties; failures: Failure[] }> {
    const request = new messages.CheckRequest();
    request.setUrn(urn(type)).setNews(struct(inputs));
    const response = await call<CheckResponse>((done) => this.#client.check(request, done));
    return {
      inputs: plain(response.getInputs()),
      failures: response.getFailuresList().map((f) => ({ property: f.getProperty(), reason: f.getReason() })),
    };
  }

  /** Returns what `check` makes of inputs that must be good. */
  async checked(type: string, inputs: Properties): Promise<Properties> {
    const result = await this.check(type, inputs);
    if (result.failures.length > 0) {
      throw new Error(`check failed: ${JSON.stringify(result.failures)}`);
    }
    return result.inputs;
  }

  async diff(type: string, oldInputs: Properties, news: Properties): Promise<Diff> {
    const request = new messages.DiffRequest();
    const old = { ...oldInputs, stdout: "", stderr: "" };
    request.setUrn(urn(type)).setId("id").setOlds(struct(old)).setOldInputs(struct(oldInputs)).setNews(struct(news));
    const response = await call<DiffResponse>((done) => this.#client.diff(request, done));
    return {
      changes: response.getChanges() === messages.DiffResponse.DiffChanges.DIFF_SOME,
      diffs: response.getDiffsList(),
      replaces: response.getReplacesList(),
    };
  }

  /** Checks the inputs and creates the resource. */
  async create(type: string, inputs: Properties, preview = false): Promise<{ id: string; state: Properties }> {
    const request = new messages.CreateRequest();
    request
      .setUrn(urn(type))
      .setProperties(struct(await this.checked(type, inputs)))
      .setPreview(preview);
    const response = await call<CreateResponse>((done) => this.#client.create(request, done));
    return { id: response.getId(), state: plain(response.getProperties()) };
  }

  /** Checks the inputs and updates the resource. */
  async update(type: string, state: Properties, inputs: Properties, preview = false): Promise<Properties> {
    const request = new messages.UpdateRequest();
    request
      .setUrn(urn(type))
      .setId("id")
      .setOlds(struct(state))
      .setNews(struct(await this.checked(type, inputs)))
      .setPreview(preview);
    return plain((await call<UpdateResponse>((done) => this.#client.update(request, done))).getProperties());
  }

  async delete(type: string, state: Properties): Promise<void> {
    const request = new messages.DeleteRequest();
    request.setUrn(urn(type)).setId("id").setProperties(struct(state));
    await call((done) => this.#client.delete(request, done));
  }

  async read(type: string, inputs: Properties, state: Properties): Promise<{ inputs: Properties; state: Properties }> {
    const request = new messages.ReadRequest();
    request.setUrn(urn(type)).setId("id").setInputs(struct(inputs)).setProperties(struct(state));
    const response = await call<ReadResponse>((done) => this.#client.read(request, done));
    return { inputs: plain(response.getInputs()), state: plain(response.getProperties()) };
  }

  async invoke(token: string, args: Properties): Promise<{ result: Properties; failures: Failure[] }> {
    const request = new messages.InvokeRequest();
    request.setTok(token).setArgs(struct(args));
    const response = await call<InvokeResponse>((done) => this.#client.invoke(request, done));
    return {
      result: plain(response.getReturn()),
      failures: response.getFailuresList().map((f) => ({ property: f.getProperty(), reason: f.getReason() })),
    };
  }

  async cancel(): Promise<void> {
    await call((done) => this.#client.cancel(new empty.Empty(), done));
  }

  async schema(): Promise<Properties> {
    const request = new messages.GetSchemaRequest();
    const response = await call<GetSchemaResponse>((done) => this.#client.getSchema(request, done));
    return JSON.parse(response.getSchema());
  }

  async version(): Promise<string> {
    const response = await call<PluginInfo>((done) => this.#client.getPluginInfo(new empty.Empty(), done));
    return response.getVersion();
  }
}

/** Builds the plugin into a directory, unless `PLAINKUBE_COMMAND_PLUGIN` names one. Returns its path. */
export async function commandPlugin(dir: string): Promise<string> {
  const given = process.env.PLAINKUBE_COMMAND_PLUGIN;
  if (given !== undefined) {
    return given;
  }
  const binary = join(dir, "pulumi-resource-command");
  const args = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, "."];
  const cwd = join(import.meta.dirname, "../../toolchain/plugin-command");
  await promisify(execFile)("go", args, { cwd, env: { ...process.env, CGO_ENABLED: "0" } });
  return binary;
}

function urn(type: string): string {
  return `urn:pulumi:dev::project::${type}::name`;
}

function struct(properties: Properties): structs.Struct {
  return structs.Struct.fromJavaScript(properties);
}

function plain(message: structs.Struct | undefined): Properties {
  return (message?.toJavaScript() ?? {}) as Properties;
}

function call<Response>(
  method: (done: (error: grpc.ServiceError | null, response: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    method((error, response) => {
      if (error !== null) {
        reject(new Error(error.details));
      } else {
        resolve(response);
      }
    });
  });
}
