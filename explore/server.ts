import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RawPage, Status } from "./answers.ts";
import { type ApiAnswer, type ApiSource, apiRequest, isApiPath, masked, openApiDocuments } from "./api.ts";
import type { EtcdSource } from "./etcd.ts";
import { problemWithKey, root } from "./keys.ts";
import { type Decoder, hexDump, viewOf } from "./stored.ts";

/** What the page shows. */
export interface Explored {
  /** Name of the stack, and the API server's address, for the page's head. */
  readonly stack: string;
  readonly apiEndpoint: string;
  readonly api: ApiSource;
  readonly etcd: EtcdSource;
  readonly decode: Decoder;
  /** Shows the values of Secrets. */
  readonly showSecrets: boolean;
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
}

/** A request that cannot be answered, and why. */
class HttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".png": "image/png",
};

const json = (value: unknown, status = 200): Reply => ({
  status,
  type: "application/json; charset=utf-8",
  body: JSON.stringify(value),
});

const fileReply = (path: string): Reply => ({
  status: 200,
  type: types[extname(path)] ?? "application/octet-stream",
  body: readFileSync(path),
});

const page = join(import.meta.dirname, "page");
const swagger = fileURLToPath(new URL(".", import.meta.resolve("swagger-ui-dist/package.json")));

/** Path → file, for everything that is served as it lies there. */
const files: ReadonlyMap<string, string> = new Map([
  ["/", join(page, "api.html")],
  ["/etcd", join(page, "etcd.html")],
  ...readdirSync(page)
    .filter((name) => /\.(js|css)$/.test(name))
    .map((name): [string, string] => [`/page/${name}`, join(page, name)]),
  ...["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"].map((name): [string, string] => [
    `/swagger-ui/${name}`,
    join(swagger, name),
  ]),
]);

/** Nothing from elsewhere, nothing to elsewhere, and no script but the page's files. Swagger UI needs inline styles. */
const contentPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const rawPage = 4096;

/**
 * The page and what it asks for: GET only, for this machine's own browser only. It must listen on 127.0.0.1; `explore`
 * does not listen itself.
 */
export function explorer(explored: Explored): Server {
  return createServer((request, response) => {
    answer(explored, request)
      .catch((error: Error) => {
        const status = error instanceof HttpError ? error.status : 502;
        return json({ message: error.message }, status);
      })
      .then((reply) => send(response, reply));
  });
}

function send(response: ServerResponse, { status, type, body }: Reply): void {
  const isPage = type.startsWith("text/html") && status === 200;
  response.writeHead(status, {
    "Content-Type": type,
    // What the API server sends is data, whatever it calls itself.
    "Content-Security-Policy": isPage ? contentPolicy : "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    ...(status === 405 && { Allow: "GET" }),
  });
  response.end(body);
}

async function answer(explored: Explored, request: IncomingMessage): Promise<Reply> {
  requireOwnBrowser(request);
  if (request.method !== "GET") {
    throw new HttpError(405, `${request.method} is refused: this page only reads; use kubectl to change something`);
  }
  if (request.headers.upgrade !== undefined) {
    throw new HttpError(403, `an upgrade to ${request.headers.upgrade} is refused: this page only reads`);
  }
  const url = new URL(request.url ?? "/", "http://127.0.0.1");
  const file = files.get(url.pathname);
  if (file !== undefined) return fileReply(file);
  if (isApiPath(url.pathname)) return passOn(explored, url);
  switch (url.pathname) {
    case "/explore/status":
      return json(await status(explored));
    case "/explore/documents":
      return json(await openApiDocuments(explored.api));
    case "/explore/keys":
      return json(
        await explored.etcd.list(keyOf(url, "prefix"), url.searchParams.has("from") ? keyOf(url, "from") : undefined),
      );
    case "/explore/value":
      return json((await found(explored, url)).view);
    case "/explore/raw":
      return raw(explored, url);
    default:
      throw new HttpError(404, `${url.pathname} is not here; the pages are / (the API) and /etcd (what etcd stores)`);
  }
}

/**
 * A page of some other site can make a browser ask 127.0.0.1 too: under its own name, if that name's address changes to
 * 127.0.0.1 (DNS rebinding), or across sites. Both say so in these headers.
 */
function requireOwnBrowser({ headers, socket }: IncomingMessage): void {
  const own = ["127.0.0.1", "localhost"].map((name) => `${name}:${socket.localPort}`);
  if (!own.includes(headers.host ?? "")) {
    throw new HttpError(421, `the Host ${headers.host} is refused; open this page at http://${own[0]}`);
  }
  const from = headers["sec-fetch-site"] ?? "none";
  if (!["none", "same-origin"].includes(String(from))) {
    throw new HttpError(403, `a request from another site (${from}) is refused; open http://${own[0]} itself`);
  }
}

async function passOn({ api, showSecrets }: Explored, url: URL): Promise<Reply> {
  const asked = apiRequest(url);
  if (typeof asked !== "string") throw new HttpError(asked.status, asked.message);
  const got = await api.get(asked);
  return showSecrets ? got : masked(got);
}

async function status({ stack, apiEndpoint, api, etcd, showSecrets }: Explored): Promise<Status> {
  const failed = (error: Error) => ({ error: error.message });
  const versionOf = (answer: ApiAnswer) => ({ version: JSON.parse(answer.body.toString("utf8")).gitVersion });
  const [version, store] = await Promise.all([
    api.get("/version").then(versionOf).catch(failed),
    etcd.status().catch(failed),
  ]);
  return { stack, apiEndpoint, showSecrets, api: version, etcd: store };
}

function keyOf(url: URL, parameter: string): string {
  const key = url.searchParams.get(parameter) ?? root;
  const problem = problemWithKey(key);
  if (problem) throw new HttpError(400, problem);
  return key;
}

async function found({ etcd, decode, showSecrets }: Explored, url: URL) {
  const key = keyOf(url, "key");
  const stored = await etcd.value(key);
  if (!stored) throw new HttpError(404, `there is no ${key} in etcd (any more)`);
  return { value: stored.value, view: await viewOf(stored, decode, showSecrets) };
}

async function raw(explored: Explored, url: URL): Promise<Reply> {
  const { value, view } = await found(explored, url);
  if (view.isMasked) {
    throw new HttpError(403, "the bytes of a Secret hold its values; start the page with --show-secrets to see them");
  }
  const offset = Number(url.searchParams.get("offset") ?? 0);
  if (!Number.isInteger(offset) || offset < 0 || offset % 16 !== 0) {
    throw new HttpError(400, `offset: got ${url.searchParams.get("offset")}, expected a multiple of 16`);
  }
  const bytes = value.subarray(offset, offset + rawPage);
  const end = offset + rawPage;
  const part: RawPage = { dump: hexDump(bytes, offset), ...(end < value.length && { next: end }) };
  return json(part);
}
