import { ask, element, showProblem } from "./common.js";

const select = /** @type {HTMLSelectElement} */ (element("document"));
const wanted = () => decodeURIComponent(new URLSearchParams(location.search).get("document") ?? "api/v1");

const nothing = () => null;

async function show() {
  /** @type {import("../answers.ts").OpenApiDocument[]} */
  const documents = await ask("/explore/documents");
  select.replaceChildren(...documents.map(({ name, url }) => new Option(name, url, false, name === wanted())));
  select.addEventListener("change", () => {
    const name = select.selectedOptions[0]?.text ?? "";
    location.search = new URLSearchParams({ document: name }).toString();
  });
  SwaggerUIBundle({
    url: select.value,
    domNode: element("swagger"),
    deepLinking: true,
    // More than a thousand operations at once are too many to draw.
    docExpansion: select.value === "/openapi/v2" ? "none" : "list",
    defaultModelsExpandDepth: -1,
    // The server refuses everything else.
    supportedSubmitMethods: ["get"],
    // Would ask a site elsewhere.
    validatorUrl: null,
    // The server asks as the administrator, whatever is entered there.
    plugins: [() => ({ wrapComponents: { authorizeBtn: () => nothing, authorizeOperationBtn: () => nothing } })],
  });
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
show().catch(showProblem);
