import { ask, bytes, element, showProblem } from "./common.js";

const root = "/registry/";
const filter = /** @type {HTMLInputElement} */ (element("filter"));

/** The address keeps what is shown: a key, or a folder with `/` at its end. */
const shownKey = () => decodeURIComponent(location.hash.slice(1)) || root;
/** @param {string} key */
const folderOf = (key) => key.slice(0, key.lastIndexOf("/") + 1);
/** @param {string} key */
const addressOf = (key) => `#${key.split("/").map(encodeURIComponent).join("/")}`;

/**
 * @param {string} text
 * @param {string} key
 */
function link(text, key) {
  const made = document.createElement("a");
  made.href = addressOf(key);
  made.textContent = text;
  return made;
}

/**
 * The way to a folder, each part a link.
 * @param {string} folder
 */
function showFolders(folder) {
  const parts = folder.slice(1, -1).split("/");
  const links = parts.map((part, i) => link(part, `/${parts.slice(0, i + 1).join("/")}/`));
  element("folders").replaceChildren("/", ...links.flatMap((one) => [one, "/"]));
}

/** @param {import("../answers.ts").Entry} entry */
function entryItem({ name, path, keys, more }) {
  const item = document.createElement("li");
  const made = link(name, path);
  if (path === shownKey()) made.setAttribute("aria-current", "true");
  item.append(made);
  if (name.endsWith("/")) {
    const count = document.createElement("small");
    count.textContent = more ? `${keys}+` : `${keys}`;
    count.title = "keys in it";
    item.append(count);
  }
  return item;
}

let listed = "";

/**
 * Lists what begins with a prefix; `from` goes on with a list that is there.
 * @param {string} prefix
 * @param {string} [from]
 */
async function list(prefix, from) {
  listed = prefix;
  showFolders(folderOf(prefix));
  const query = new URLSearchParams({ prefix, ...(from && { from }) });
  /** @type {import("../answers.ts").Listing} */
  const { entries, next } = await ask(`/explore/keys?${query}`);
  // Another list was asked for meanwhile.
  if (listed !== prefix) return;
  const place = element("entries");
  if (!from) place.replaceChildren();
  place.append(...entries.map(entryItem));
  if (!from && entries.length === 0) place.append("nothing");
  const more = element("more");
  more.hidden = !next;
  more.onclick = () => {
    // Once: it comes back with the next part.
    more.hidden = true;
    list(prefix, next).catch(showProblem);
  };
}

/** @param {import("../answers.ts").StoredView} view */
function showFacts(view) {
  const facts = {
    kind: view.kind,
    apiVersion: view.apiVersion,
    "stored as": view.encoding,
    size: bytes(view.size),
    "create revision": view.createRevision,
    "mod revision": view.modRevision,
    version: view.version,
    lease: view.lease ?? "none",
  };
  const known = Object.entries(facts).filter(([, value]) => value !== undefined);
  element("facts").replaceChildren(
    ...known.map(([name, value]) => {
      const pair = document.createElement("div");
      const term = document.createElement("dt");
      const detail = document.createElement("dd");
      term.textContent = name;
      detail.textContent = String(value);
      pair.append(term, detail);
      return pair;
    }),
  );
}

/**
 * @param {string} key
 * @param {number} offset
 */
async function showRaw(key, offset) {
  /** @type {import("../answers.ts").RawPage} */
  const { dump, next } = await ask(`/explore/raw?${new URLSearchParams({ key, offset: String(offset) })}`);
  const place = element("dump");
  place.hidden = false;
  place.textContent = offset === 0 ? dump : `${place.textContent}\n${dump}`;
  const button = element("raw");
  button.hidden = next === undefined;
  button.textContent = "More stored bytes";
  button.onclick = () => showRaw(key, next ?? 0).catch(showProblem);
}

/**
 * @param {string} id
 * @param {string} [text]
 */
function showText(id, text) {
  element(id).hidden = text === undefined || text === "";
  element(id).textContent = text ?? "";
}

/** @param {string} key */
async function showValue(key) {
  /** @type {import("../answers.ts").StoredView} */
  const view = await ask(`/explore/value?${new URLSearchParams({ key })}`);
  if (shownKey() !== key) return;
  element("key").textContent = key;
  showFacts(view);
  const hidden = view.isMasked ? "Values of Secrets are hidden; npm run api:explore -- --show-secrets shows them." : "";
  showText("note", [view.note, hidden].filter(Boolean).join(" "));
  showText("yaml", view.yaml);
  showText("dump", undefined);
  const button = element("raw");
  button.hidden = view.isMasked;
  button.textContent = "Stored bytes";
  button.onclick = () => showRaw(key, 0).catch(showProblem);
}

async function show() {
  showProblem();
  const key = shownKey();
  const folder = folderOf(key);
  if (folderOf(listed) !== folder) {
    filter.value = "";
    await list(folder);
  }
  for (const one of element("entries").querySelectorAll("a")) {
    if (one.hash === addressOf(key)) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
  if (key !== folder) await showValue(key);
}

filter.addEventListener("input", () => list(folderOf(shownKey()) + filter.value).catch(showProblem));
addEventListener("hashchange", () => show().catch(showProblem));
show().catch(showProblem);
