import { ask, bytes, element, showProblem } from "./common.js";

const root = "/registry/";
const filter = element("filter");

/** The address keeps what is shown: a key, or a folder with `/` at its end. */
const shownKey = () => decodeURIComponent(location.hash.slice(1)) || root;
const folderOf = (key) => key.slice(0, key.lastIndexOf("/") + 1);
const addressOf = (key) => `#${key.split("/").map(encodeURIComponent).join("/")}`;

function link(text, key) {
  const made = document.createElement("a");
  made.href = addressOf(key);
  made.textContent = text;
  return made;
}

/** The way to a folder, each part a link. */
function showFolders(folder) {
  const parts = folder.slice(1, -1).split("/");
  const links = parts.map((part, i) => link(part, `/${parts.slice(0, i + 1).join("/")}/`));
  element("folders").replaceChildren("/", ...links.flatMap((one) => [one, "/"]));
}

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

/** Lists what begins with a prefix; `from` goes on with a list that is there. */
async function list(prefix, from) {
  listed = prefix;
  showFolders(folderOf(prefix));
  const query = new URLSearchParams({ prefix, ...(from && { from }) });
  const { entries, next } = await ask(`/explore/keys?${query}`);
  // Another list was asked for meanwhile.
  if (listed !== prefix) return;
  const place = element("entries");
  if (!from) place.replaceChildren();
  place.append(...entries.map(entryItem));
  if (!from && entries.length === 0) place.append("nothing");
  const more = element("more");
  more.hidden = !next;
  more.onclick = () => list(prefix, next).catch(showProblem);
}

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

async function showRaw(key, offset) {
  const { dump, next } = await ask(`/explore/raw?${new URLSearchParams({ key, offset: String(offset) })}`);
  const place = element("dump");
  place.hidden = false;
  place.textContent = offset === 0 ? dump : `${place.textContent}\n${dump}`;
  const button = element("raw");
  button.hidden = next === undefined;
  button.textContent = "More stored bytes";
  button.onclick = () => showRaw(key, next).catch(showProblem);
}

function showText(id, text) {
  element(id).hidden = text === undefined || text === "";
  element(id).textContent = text ?? "";
}

async function showValue(key) {
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
