import { ask, element, showProblem } from "./common.js";

const select = /** @type {HTMLSelectElement} */ (element("document"));
const filter = /** @type {HTMLInputElement} */ (element("filter"));
const wanted = () => decodeURIComponent(new URLSearchParams(location.search).get("document") ?? "api/v1");

const nothing = () => null;

/** What this page has otherwise than Swagger UI: its own filter, by path, and no login: the server asks as the administrator. */
const adapted = {
  fn: { opsFilter: withPath },
  wrapComponents: {
    FilterContainer: () => nothing,
    authorizeBtn: () => nothing,
    authorizeOperationBtn: () => nothing,
  },
};

/**
 * The operations whose path contains a text.
 * @param {Collection} tags
 * @param {string} text
 */
function withPath(tags, text) {
  return tags
    .map((tag) => tag.update("operations", (all) => all.filter((one) => one.get("path").includes(text))))
    .filter((tag) => tag.get("operations").size > 0);
}

async function show() {
  /** @type {import("../answers.ts").OpenApiDocument[]} */
  const documents = await ask("/explore/documents");
  select.replaceChildren(...documents.map(({ name, url }) => new Option(name, url, false, name === wanted())));
  select.addEventListener("change", () => {
    const name = select.selectedOptions[0]?.text ?? "";
    location.search = new URLSearchParams({ document: name }).toString();
  });
  const ui = SwaggerUIBundle({
    url: select.value,
    domNode: element("swagger"),
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: -1,
    // The server refuses everything else.
    supportedSubmitMethods: ["get"],
    // Would ask a site elsewhere.
    validatorUrl: null,
    plugins: [() => adapted],
  });
  filter.addEventListener("input", () => ui.layoutActions.updateFilter(filter.value.trim()));
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
show().catch(showProblem);
