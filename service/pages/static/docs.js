// The API page: every operation of /openapi.json in its group, with parameters, responses, a curl command and a form.

import { warnOfPart } from "./address.js";
import { api, detailOf, session } from "./api.js";
import { describe, inline } from "./docs-operation.js";
import { byId, h, say } from "./dom.js";
import { showSession } from "./header.js";

/** @import { DocsContext, Endpoint, OpenApi } from "../types" */

const METHODS = ["get", "put", "post", "delete", "patch"];
const trouble = byId("trouble");
const filter = byId("filter", HTMLInputElement);
const count = byId("count");
const paths = byId("paths");
const OTHERS = { name: "Other", description: "" };

/**
 * The operations by group, both in the order of the document.
 *
 * @param {OpenApi} document
 * @returns {{ name: string, description: string, operations: Endpoint[] }[]}
 */
function group(document) {
  const all = Object.keys(document.paths).flatMap((path) =>
    METHODS.filter((method) => method in document.paths[path]).map((method) => ({
      id: `${method}${path.replaceAll(/[^\w]+/g, "-")}`,
      path,
      method,
      operation: document.paths[path][method],
    })),
  );
  return [...(document.tags ?? []), OTHERS]
    .map((tag) => ({
      ...tag,
      operations: all.filter(({ operation }) => (operation.tags?.[0] ?? OTHERS.name) === tag.name),
    }))
    .filter(({ operations }) => operations.length > 0);
}

/**
 * @param {OpenApi} document
 * @param {DocsContext["access"]} access
 */
function show(document, access) {
  paths.replaceChildren(
    ...group(document).map(({ name, description, operations }) =>
      h(
        "section",
        { class: "card docs-group", "aria-label": name },
        h("h2", {}, name),
        h("p", { class: "soft" }, ...inline(description)),
        ...operations.map((each) => describe(each, { document, access, origin: location.origin })),
      ),
    ),
  );
  byId("token-field").hidden = access !== "on";
  paths.setAttribute("aria-busy", "false");
  applyFilter();
  openLinked();
}

/** Hide operations that lack one of the words, and groups without a visible operation. */
function applyFilter() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of paths.querySelectorAll("section.docs-group")) {
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
warnOfPart(location.search, "this page shows the same for every query");
load();
showSession().catch(() => {}); // `load` reports the same problem.
