import { Agent, request } from "node:https";
import { buffer } from "node:stream/consumers";
import { parse } from "yaml";
import type { OpenApiDocument } from "./answers.ts";
import { maskSecrets } from "./mask.ts";

/** Where the API server is, and as whom it is asked. */
export interface ApiAccess {
  readonly server: string;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** An answer of the API server. */
export interface ApiAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

/** What the page asks of the API server. */
export interface ApiSource {
  /** The answer to a GET, whatever its status; throws if there is none. */
  get(path: string): Promise<ApiAnswer>;
}

/** Reads a kubeconfig with everything in it, as the stack's output is: the cluster and the user of its current context. */
export function readKubeconfig(text: string): ApiAccess {
  const config = parse(text);
  const named = (list: string, name: string) => config[list]?.find((one: { name: string }) => one.name === name);
  const context = named("contexts", config["current-context"])?.context;
  const cluster = named("clusters", context?.cluster)?.cluster;
  const user = named("users", context?.user)?.user;
  const decoded = (what: string, value: unknown): string => {
    if (typeof value === "string") return Buffer.from(value, "base64").toString("utf8");
    throw new Error(`the stack's kubeconfig has no ${what}; expected a cluster and a user with a client certificate`);
  };
  return {
    server: String(cluster?.server),
    ca: decoded("certificate-authority-data", cluster?.["certificate-authority-data"]),
    cert: decoded("client-certificate-data", user?.["client-certificate-data"]),
    key: decoded("client-key-data", user?.["client-key-data"]),
  };
}

/** The API server of a stack. Nothing but GET is ever sent to it. */
export class ApiServer implements ApiSource {
  readonly #access: ApiAccess;
  readonly #agent: Agent;

  constructor(access: ApiAccess) {
    this.#access = access;
    const { ca, cert, key } = access;
    this.#agent = new Agent({ ca, cert, key, keepAlive: true, minVersion: "TLSv1.2" });
  }

  async get(path: string): Promise<ApiAnswer> {
    const { server } = this.#access;
    try {
      const { promise, resolve, reject } = Promise.withResolvers<ApiAnswer>();
      const asked = request(new URL(path, server), {
        method: "GET",
        agent: this.#agent,
        // Secrets are found in JSON only, and logs are plain text.
        headers: { accept: "application/json, */*;q=0.1" },
        signal: AbortSignal.timeout(60_000),
      });
      // A host that is gone refuses nothing.
      asked.setTimeout(10_000, () => asked.destroy(new Error("no answer in 10 s")));
      asked.on("error", reject);
      asked.on("response", (response) => {
        const { statusCode = 502, headers } = response;
        buffer(response).then(
          (body) => resolve({ status: statusCode, type: headers["content-type"] ?? "text/plain", body }),
          reject,
        );
      });
      asked.end();
      return await promise;
    } catch (error) {
      throw new Error(
        `the API server at ${server} does not answer: ${(error as Error).message}; expected the one of this stack. ` +
          "Look at it on its host by `systemctl status kube-apiserver`, and whether this machine reaches that port",
      );
    }
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Why a request is not passed on. */
export interface Refusal {
  readonly status: number;
  readonly message: string;
}

const served = ["api", "apis", "openapi", "version", "livez", "readyz", "healthz", "metrics", ".well-known", "openid"];
/** What a GET can do more than read with, or never ends with. */
const verbs = ["watch", "proxy", "redirect"];
const subresources = ["exec", "attach", "portforward", "proxy"];
const endless = ["watch", "follow"];

/** Whether a path is the API server's, not the page's own. */
export const isApiPath = (path: string): boolean => served.includes(path.split("/")[1] ?? "");

/**
 * The request to the API server that one for a path stands for, or why it is refused: only reading, and only what ends.
 * What is checked is what is sent: the path is put together again from its decoded parts.
 */
export function apiRequest(url: URL): string | Refusal {
  const refuse = (message: string): Refusal => ({ status: 403, message: `${message}; this page only reads` });
  let segments: string[];
  try {
    segments = url.pathname.split("/").slice(1).map(decodeURIComponent);
  } catch {
    return { status: 400, message: `the path ${url.pathname} is not encoded rightly` };
  }
  // A slash at the end is all that may be empty.
  const odd = segments.find((s, i) => /[/\\]|^\.\.?$/.test(s) || (s === "" && i < segments.length - 1));
  if (odd !== undefined) return { status: 400, message: `the path ${url.pathname} has the part "${odd}"` };

  const [first, ...rest] = segments;
  const ofVersion = first === "api" ? rest.slice(1) : first === "apis" ? rest.slice(2) : [];
  const verb = ofVersion[0] ?? "";
  if (verbs.includes(verb)) return refuse(`/${verb}/ is not passed on`);
  const [, , subresource = ""] = verb === "namespaces" && ofVersion.length > 3 ? ofVersion.slice(2) : ofVersion;
  if (subresources.includes(subresource)) return refuse(`the subresource ${subresource} is not passed on`);
  for (const name of endless) {
    const asked = url.searchParams.getAll(name).find((value) => !["false", "0"].includes(value));
    if (asked !== undefined) return refuse(`${name}=${asked} is not passed on`);
  }
  return `/${segments.map(encodeURIComponent).join("/")}${url.search}`;
}

/** An answer as the page may show it: without the values of Secrets. */
export function masked(answer: ApiAnswer): ApiAnswer {
  if (!answer.type.startsWith("application/json") || !answer.body.includes("Secret")) return answer;
  const object: unknown = JSON.parse(answer.body.toString("utf8"));
  const shown = maskSecrets(object);
  return shown === object ? answer : { ...answer, body: Buffer.from(JSON.stringify(shown, null, 2)) };
}

/** The documents that the running server has: one a group and version (OpenAPI 3), and the one of all (OpenAPI 2). */
export async function openApiDocuments(api: ApiSource): Promise<OpenApiDocument[]> {
  const answer = await api.get("/openapi/v3");
  if (answer.status !== 200) {
    throw new Error(`/openapi/v3 answered ${answer.status}, expected 200: ${answer.body.toString("utf8", 0, 300)}`);
  }
  const { paths } = JSON.parse(answer.body.toString("utf8")) as {
    paths: Record<string, { serverRelativeURL: string }>;
  };
  const documents = Object.entries(paths).map(([name, { serverRelativeURL }]) => ({ name, url: serverRelativeURL }));
  // The groups first, as people look for these; of them the core, `api/v1`.
  const rank = ({ name }: OpenApiDocument) => (name === "api/v1" ? 0 : /^apis\/.+\//.test(name) ? 1 : 2);
  documents.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name, "en"));
  return [...documents, { name: "all, as OpenAPI 2", url: "/openapi/v2" }];
}
