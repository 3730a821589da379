// The decision page for a name without a decision: the likely causes, and a search.

import { detailOf } from "./api.js";
import { h } from "./dom.js";

/**
 * @param {string} name
 * @param {unknown} error
 */
export async function unknown(name, error) {
  const detail = detailOf(error, "");
  return [
    h(
      "div",
      { class: "card stack unknown" },
      h("h2", {}, "No decision with this id"),
      h("p", {}, `${detail}.`),
      h(
        "ul",
        { class: "soft" },
        h("li", {}, "Decisions are written within a second of the answer: reload the page if it was just made."),
        h("li", {}, "Old decisions are deleted after the days, and beyond the number, that the settings keep."),
        h("li", {}, "A request that failed has no decision; its log line holds the code and the detail."),
      ),
      search(name),
    ),
  ];
}

/** @param {string} name */
function search(name) {
  const input = h("input", { id: "wanted", name: "id", class: "input", value: name.slice(0, 160), required: true });
  return h(
    "form",
    { class: "row unknown-search", action: "/decisions" },
    h("label", { for: "wanted" }, "Id"),
    input,
    h("button", { class: "button" }, "Search"),
    h("a", { href: "/decisions" }, "All decisions"),
  );
}
