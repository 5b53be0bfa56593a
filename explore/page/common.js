/**
 * Asks the page's own server. Throws what it says is wrong.
 * @param {string} path
 */
export async function ask(path) {
  const response = await fetch(path).catch(() => {
    throw new Error("The page's server does not answer: start it again by npm run api:explore.");
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

/**
 * The element with this id.
 * @param {string} id
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found;
}

/**
 * Shows what is wrong, or nothing any more.
 * @param {Error} [error]
 */
export function showProblem(error) {
  const place = element("problem");
  place.hidden = error === undefined;
  place.textContent = error === undefined ? "" : error.message;
}

/**
 * A number of bytes as people read it.
 * @param {number} count
 */
export const bytes = (count) => (count < 10240 ? `${count} B` : `${(count / 1048576).toFixed(2)} MiB`);

async function showStatus() {
  /** @type {import("../answers.ts").Status} */
  const { stack, apiEndpoint, api, etcd, showSecrets } = await ask("/explore/status");
  const parts = [
    `stack ${stack}`,
    "error" in api ? "API server does not answer" : `Kubernetes ${api.version} at ${apiEndpoint}`,
    "error" in etcd ? "etcd does not answer" : `etcd ${etcd.version}, ${bytes(etcd.size)}, revision ${etcd.revision}`,
    showSecrets ? "Secrets are shown" : "values of Secrets are hidden",
  ];
  element("status").textContent = parts.join(" · ");
}

showStatus().catch((error) => {
  element("status").textContent = error.message;
});
