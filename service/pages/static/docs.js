// The API page: every operation of /openapi.json under its path, with parameters, responses and a curl command.

import { api, detailOf, session } from "./api.js";
import { describe } from "./docs-operation.js";
import { byId, h, say } from "./dom.js";
import { showSession } from "./header.js";

/** @import { DocsContext, Endpoint, OpenApi } from "../types" */

const METHODS = ["get", "put", "post", "delete", "patch"];
const trouble = byId("trouble");
const filter = byId("filter", HTMLInputElement);
const count = byId("count");
const paths = byId("paths");

/**
 * The operations by path, in alphabetical order.
 *
 * @param {OpenApi} document
 * @returns {{ path: string, operations: Endpoint[] }[]}
 */
function group(document) {
  return Object.keys(document.paths)
    .sort()
    .map((path) => ({
      path,
      operations: METHODS.filter((method) => method in document.paths[path]).map((method) => ({
        id: `${method}${path.replaceAll(/[^\w]+/g, "-")}`,
        path,
        method,
        operation: document.paths[path][method],
      })),
    }));
}

/**
 * @param {OpenApi} document
 * @param {DocsContext["access"]} access
 */
function show(document, access) {
  paths.replaceChildren(
    ...group(document).map(({ path, operations }) =>
      h(
        "section",
        { class: "card docs-path", "aria-label": path },
        h("h2", { class: "mono" }, path),
        ...operations.map((each) => describe(each, { document, access, origin: location.origin })),
      ),
    ),
  );
  paths.setAttribute("aria-busy", "false");
  applyFilter();
  openLinked();
}

/** Hide operations that lack one of the words, and paths without a visible operation. */
function applyFilter() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of paths.querySelectorAll("section.docs-path")) {
    /** @type {HTMLElement[]} */
    const operations = [...section.querySelectorAll("details.docs-operation")].map(element);
    for (const each of operations) each.hidden = !words.every((word) => each.dataset.words?.includes(word));
    element(section).hidden = operations.every((each) => each.hidden);
    shown += operations.filter((each) => !each.hidden).length;
  }
  say(count, shown === 1 ? "1 operation" : `${shown} operations`);
}

function openLinked() {
  const linked = location.hash && document.getElementById(location.hash.slice(1));
  if (!(linked instanceof HTMLDetailsElement)) return;
  linked.open = true;
  linked.scrollIntoView();
  linked.querySelector("summary")?.focus({ preventScroll: true });
}

/** @param {unknown} error */
function explain(error) {
  const text = detailOf(error, "The service cannot be reached.");
  trouble.replaceChildren(
    h(
      "div",
      { class: "notice notice--bad row" },
      h("span", {}, text),
      h("button", { type: "button", class: "button button--small", onclick: load }, "Try again"),
    ),
  );
  trouble.hidden = false;
}

async function load() {
  try {
    const [document, { access }] = await Promise.all([api("/openapi.json"), session()]);
    trouble.hidden = true;
    show(document, access);
  } catch (error) {
    explain(error);
  }
}

/**
 * @param {Element} found
 * @returns {HTMLElement}
 */
function element(found) {
  return /** @type {HTMLElement} */ (found);
}

filter.addEventListener("input", applyFilter);
addEventListener("hashchange", openLinked);
load();
showSession().catch(() => {}); // `load` reports the same problem.
