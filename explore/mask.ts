/** Hides the values of Secrets. What is hidden never reaches the browser. */

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether a key of etcd holds a core Secret. */
export const isSecretKey = (key: string): boolean => key.startsWith("/registry/secrets/");

/** Whether an object is a core Secret, or a list of such. */
export const isSecret = (object: unknown): boolean =>
  isObject(object) && object.apiVersion === "v1" && (object.kind === "Secret" || object.kind === "SecretList");

/** An object without the values of Secrets: of itself, or of the items of a list. Anything else stays as it is. */
export function maskSecrets(object: unknown): unknown {
  if (!isObject(object)) return object;
  const items = Array.isArray(object.items) ? object.items : undefined;
  // In a list of one kind only the list itself says which.
  if (object.kind === "SecretList") return { ...object, items: items?.map(maskSecret) };
  if (object.kind === "List") return { ...object, items: items?.map(maskSecrets) };
  return isSecret(object) ? maskSecret(object) : object;
}

// kubectl apply keeps the whole object in it.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

function maskSecret(secret: unknown): unknown {
  if (!isObject(secret)) return secret;
  const masked: Record<string, unknown> = { ...secret };
  for (const field of ["data", "stringData"]) {
    const values = secret[field];
    if (!isObject(values)) continue;
    masked[field] = Object.fromEntries(
      Object.entries(values).map(([key, value]) => [key, hidden(String(value), field === "data" ? "base64" : "utf8")]),
    );
  }
  const { metadata } = secret;
  if (isObject(metadata) && isObject(metadata.annotations) && lastApplied in metadata.annotations) {
    const annotations = { ...metadata.annotations, [lastApplied]: "(hidden)" };
    masked.metadata = { ...metadata, annotations };
  }
  return masked;
}

const hidden = (value: string, encoding: BufferEncoding): string =>
  `(hidden: ${Buffer.byteLength(value, encoding)} bytes)`;
