/** What the page's server answers, for both sides: the server's own modules, and the scripts in page/. */

/** GET /explore/status: the head of both pages. */
export interface Status {
  readonly stack: string;
  readonly apiEndpoint: string;
  readonly showSecrets: boolean;
  readonly api: { readonly version: string } | { readonly error: string };
  readonly etcd: EtcdStatus | { readonly error: string };
}

export interface EtcdStatus {
  readonly version: string;
  readonly revision: number;
  /** Bytes of the database. */
  readonly size: number;
}

/** GET /explore/documents: the OpenAPI documents of the API server. */
export interface OpenApiDocument {
  readonly name: string;
  readonly url: string;
}

/** GET /explore/keys: one level of keys. */
export interface Listing {
  readonly entries: readonly Entry[];
  /** From where to go on; undefined at the end. */
  readonly next: string | undefined;
  /** The store's revision at which they were read. */
  readonly revision: number;
}

/** A key, or a folder of keys. */
export interface Entry {
  /** What stands behind the folder that is listed; a folder's ends with `/`. */
  readonly name: string;
  readonly path: string;
  /** Keys in the folder that were seen; 1 for a key. */
  readonly keys: number;
  /** Whether the folder holds more than were seen. */
  readonly more: boolean;
}

/** What etcd knows of a value. */
export interface StoredFacts {
  readonly key: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** How often the key was written since it was made. */
  readonly version: number;
  /** Hexadecimal; undefined for a key that no lease ends. */
  readonly lease: string | undefined;
}

/**
 * How a value is written: `protobuf` (kube-apiserver's own types), `json` (custom resources, CustomResourceDefinitions,
 * APIServices), `encrypted` (at rest, by the API server's --encryption-provider-config), or none of these.
 */
export type Encoding = "protobuf" | "json" | "encrypted" | "other";

/** GET /explore/value: a stored value, decoded. */
export interface StoredView extends StoredFacts {
  readonly encoding: Encoding;
  /** Bytes of the value as it is stored. */
  readonly size: number;
  readonly apiVersion: string | undefined;
  readonly kind: string | undefined;
  /** The object; undefined where `note` says why there is none. */
  readonly yaml: string | undefined;
  readonly note: string | undefined;
  /** Whether values of a Secret are hidden, here and in the raw bytes. */
  readonly isMasked: boolean;
}

/** GET /explore/raw: a part of a value's bytes. */
export interface RawPage {
  readonly dump: string;
  /** Where the next part begins. */
  readonly next?: number;
}
