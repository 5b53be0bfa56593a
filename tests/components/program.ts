import { generateKeyPairSync } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import type resproto from "@pulumi/pulumi/proto/resource_pb.js";
import { projectDirectory, type RawConfig } from "../unit/clusters.ts";

type Register = (
  request: resproto.RegisterResourceRequest,
  callback: (error: Error | null, response: resproto.RegisterResourceResponse | undefined) => void,
) => void;

/** A resource as the program has registered it. */
export interface Registered {
  readonly type: string;
  readonly name: string;
  readonly urn: string;
  /** URN of the parent, or "". */
  readonly parent: string;
  readonly custom: boolean;
  /** As the engine gets them: secrets are marked. */
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly deletedWith: string;
  readonly ignoreChanges: readonly string[];
  readonly dependencies: readonly string[];
  /** URNs of the parents that it had in earlier versions. */
  readonly formerParents: readonly string[];
  readonly provider: string;
}

export interface Outcome {
  readonly resources: readonly Registered[];
  /** What index.ts exports. */
  readonly outputs: Readonly<Record<string, unknown>>;
}

const { specialSigKey, specialSecretSig } = pulumi.runtime;

export const isSecret = (value: unknown): value is { readonly value: unknown } =>
  typeof value === "object" && value !== null && Reflect.get(value, specialSigKey) === specialSecretSig;

/** A value without its mark. */
export const plain = (value: unknown): unknown => (isSecret(value) ? value.value : value);

/** A key as the stand-in of the TLS provider makes it. */
export const keyMarker = (name: string): string => `the-private-key-named-${name}`;

/** A real key: the program itself signs with those of users. */
export const rsaKey = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs1", format: "pem" },
});

const pem = (what: string, content: string) => `-----BEGIN ${what}-----\n${content}\n-----END ${what}-----\n`;

/** What a provider would add to the inputs of a resource. */
function computed({ type, name, inputs }: pulumi.runtime.MockResourceArgs): Record<string, unknown> {
  switch (type) {
    case "tls:index/privateKey:PrivateKey":
      if (inputs.algorithm === "RSA") {
        return { privateKeyPem: pulumi.secret(rsaKey.privateKey), publicKeyPem: rsaKey.publicKey };
      }
      return {
        privateKeyPem: pulumi.secret(pem("PRIVATE KEY", keyMarker(name))),
        publicKeyPem: pem("PUBLIC KEY", name),
      };
    case "tls:index/certRequest:CertRequest":
      return { certRequestPem: `request ${name}` };
    case "tls:index/selfSignedCert:SelfSignedCert":
    case "tls:index/locallySignedCert:LocallySignedCert":
      return {
        certPem: pem("CERTIFICATE", name),
        validityEndTime: `2030-01-01T00:00:${String(name.length).padStart(2, "0")}Z`,
      };
    case "random:index/randomPassword:RandomPassword":
      return { result: pulumi.secret(keyMarker(name)) };
    case "random:index/randomId:RandomId":
      return { hex: Buffer.from(name).toString("hex").slice(0, 8) };
    case "command:remote:Command":
    case "command:local:Command":
      return { stdout: `output of ${name}` };
    case "kubernetes:core/v1:Service":
      return { spec: { clusterIP: "10.96.7.7", ...inputs.spec } };
    default:
      return {};
  }
}

/** Notes every resource that goes to the engine, with what the stand-ins of the SDK leave out. */
function record(resources: Registered[]): void {
  const monitor = pulumi.runtime.getMonitor();
  if (!monitor) throw new Error("setMocks has set no monitor");
  const register = monitor.registerResource.bind(monitor) as Register;
  const recording: Register = (request, callback) =>
    register(request, (error, response) => {
      if (response) {
        resources.push({
          type: request.getType(),
          name: request.getName(),
          urn: response.getUrn(),
          parent: request.getParent(),
          custom: request.getCustom(),
          inputs: request.getObject()?.toJavaScript() ?? {},
          deletedWith: request.getDeletedwith(),
          ignoreChanges: request.getIgnorechangesList(),
          dependencies: request.getDependenciesList(),
          formerParents: request.getAliasesList().map((alias) => alias.getSpec()?.getParenturn() ?? alias.getUrn()),
          provider: request.getProvider(),
        });
      }
      callback(error, response);
    });
  Object.assign(monitor, { registerResource: recording });
}

let runs = 0;

/**
 * Runs index.ts with this configuration. The engine and the providers are stand-ins: what is registered is real, what
 * becomes of it is not.
 */
export async function runProgram(
  config: RawConfig,
  { preview = false, resources = [] as Registered[] } = {},
): Promise<Outcome> {
  process.chdir(projectDirectory);
  const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  pulumi.runtime.setAllConfig(
    Object.fromEntries(Object.entries(config).map(([key, value]) => [`plainkube:${key}`, text(value)])),
  );
  const mocks: pulumi.runtime.Mocks = {
    call: ({ token }) => {
      throw new Error(`the program calls ${token}`);
    },
    newResource: (args) => ({ id: `${args.name}-id`, state: { ...args.inputs, ...computed(args) } }),
  };
  await pulumi.runtime.setMocks(mocks, "plainkube", "dev", preview);
  record(resources);
  const program = new URL(`../../index.ts?run=${runs++}`, import.meta.url).href;
  const { default: outputs } = await import(program);
  await pulumi.runtime.disconnect();
  return { resources, outputs };
}
