// The API page: every operation of /openapi.json under its path, with what it takes, answers and costs to type.

import { ApiError, api, session } from "./api.js";
import { describe } from "./docs-operation.js";
import { byId, h, say } from "./dom.js";
import { showSession } from "./header.js";

const METHODS = ["get", "put", "post", "delete", "patch"];
const [trouble, filter, count, paths] = ["trouble", "filter", "count", "paths"].map(byId);

// [{path, operations: [{id, path, method, operation}]}] by path, shorter ones first.
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
  narrow();
  openLinked();
}

// Hide what has not all the words; a path without operations left goes with them.
function narrow() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of paths.children) {
    const operations = [...section.querySelectorAll(":scope > details")];
    for (const each of operations) each.hidden = !words.every((word) => each.dataset.words.includes(word));
    section.hidden = operations.every((each) => each.hidden);
    shown += operations.filter((each) => !each.hidden).length;
  }
  say(count, shown === 1 ? "1 operation" : `${shown} operations`);
}

function openLinked() {
  const linked = location.hash && paths.querySelector(`:scope > section > [id="${CSS.escape(location.hash.slice(1))}"]`);
  if (!linked) return;
  linked.open = true;
  linked.scrollIntoView();
  linked.querySelector("summary").focus({ preventScroll: true });
}

function explain(error) {
  const text = error instanceof ApiError ? error.message : "The service cannot be reached.";
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

filter.addEventListener("input", narrow);
addEventListener("hashchange", openLinked);
load();
showSession().catch(() => {});  // What keeps it from being shown is said by what cannot be loaded.
