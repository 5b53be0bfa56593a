import { paths } from "../paths.ts";
import { yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";
import { nothing, type ServerPart } from "./part.ts";

/** Holds the keys: for root alone, and secret in the state. */
export const encryptionFile = `${paths.etc}/encryption.yaml`;

/**
 * The EncryptionConfiguration of these keys, the oldest first, 32 bytes each in base64. The newest encrypts; every other
 * way in which a Secret may have been stored stays readable.
 */
export function renderEncryptionFile({ apiServer }: ClusterSpec, keys: readonly string[]): string {
  const secretbox = { secretbox: { keys: keys.map((secret, i) => ({ name: `key${i + 1}`, secret })).reverse() } };
  const identity = { identity: {} };
  return yaml({
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "EncryptionConfiguration",
    resources: [
      {
        resources: ["secrets"],
        providers: apiServer.encryption.secrets ? [secretbox, identity] : [identity, secretbox],
      },
    ],
  });
}

/** Encryption of Secrets at rest, as long as there is any key. */
export function renderEncryption({ apiServer: { encryption } }: ClusterSpec): ServerPart {
  if (encryption.generation === 0) return nothing;
  return { flags: { "encryption-provider-config": encryptionFile }, files: [], secrets: [encryptionFile] };
}
