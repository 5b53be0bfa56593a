import type { Entry, Listing } from "./answers.ts";

/** Keys of etcd shown as folders: a level at a time, however many keys lie below it. */

/** Where kube-apiserver stores objects (its --etcd-prefix). */
export const root = "/registry/";

/** Some keys of a range, in their order. */
export interface KeyPage {
  readonly keys: readonly string[];
  /** Whether the range holds keys behind these. */
  readonly more: boolean;
  /** The store's revision at which they were read. */
  readonly revision: number;
}

/** Reads the first `limit` keys from `start` to before `end`. */
export type ReadKeys = (start: string, end: string, limit: number) => Promise<KeyPage>;

const batch = 1000;

/**
 * One level of what begins with `prefix`: a folder (`/registry/pods/`), or its entries that begin with some text
 * (`/registry/pods/kube-`). Folders too large for one read are jumped over, so that a level costs few reads.
 */
export async function listKeys(read: ReadKeys, prefix: string, from?: string, most = 200): Promise<Listing> {
  const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  const end = behind(prefix);
  const entries: Entry[] = [];
  for (let start = from ?? prefix; ; ) {
    const page = await read(start, end, batch);
    for (const key of page.keys) {
      const name = /^[^/]*\/?/.exec(key.slice(folder.length))?.[0] ?? "";
      const last = entries.at(-1);
      if (last?.name === name) entries[entries.length - 1] = { ...last, keys: last.keys + 1 };
      else if (entries.length === most) return { entries, next: key, revision: page.revision };
      else entries.push({ name, path: folder + name, keys: 1, more: false });
    }
    const last = entries.at(-1);
    if (!page.more || !last) return { entries, next: undefined, revision: page.revision };
    if (last.name.endsWith("/")) {
      entries[entries.length - 1] = { ...last, more: true };
      start = behind(last.path);
    } else {
      // The next key there can be: none holds a control character.
      start = `${last.path}\u0001`;
    }
    if (start >= end) return { entries, next: undefined, revision: page.revision };
  }
}

/** The end of the range of all keys that begin with a text: its last character raised by one. */
export const behind = (prefix: string): string =>
  prefix.slice(0, -1) + String.fromCodePoint((prefix.codePointAt(prefix.length - 1) ?? 0) + 1);

/** Why a text is no key or prefix to look at, or undefined if it is. */
export function problemWithKey(key: string): string | undefined {
  if (key.startsWith(root) && !/\p{Cc}|\p{Cs}/u.test(key)) return undefined;
  return `key: got ${JSON.stringify(key.slice(0, 100))}, expected one below ${root}, in one line`;
}
