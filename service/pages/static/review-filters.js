// The filters of the review: those of the list of decisions, taken from the address of the page.

import { queryFault } from "./address.js";
import { byId, say } from "./dom.js";
import { FIELDS, makeControls, readForm, readQuery } from "./filters.js";

const KINDS = ["discarded", "audit", "all"];
const NARROW = matchMedia("(max-width: 640px)");
// Images in the review have no verdict yet, and the choice of images above names the audit.
const CHOSEN = FIELDS.filter(({ name }) => name !== "verdict" && name !== "audit");

/** The filters in use, as the API takes them, and the form to change them. */
export function useFilters() {
  const query = readQuery(location.search, CHOSEN);
  const form = byId("filters", HTMLFormElement);
  byId("filter-fields").replaceChildren(...makeControls(CHOSEN, query));
  say(byId("filters-title"), query.size ? `Filters (${query.size} in use)` : "Filters");
  byId("filters-box").toggleAttribute("open", query.size > 0 && !NARROW.matches);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = readForm(form, CHOSEN);
    const kind = kindInAddress();
    if (kind) chosen.set("kind", kind);
    location.assign(chosen.size ? `/review?${chosen}` : "/review");
  });
  return Object.fromEntries(query);
}

/** The kind of images that a link to this page names, if any. */
export function kindInAddress() {
  return new URLSearchParams(location.search).get("kind");
}

/**
 * Name the kind in the address, so that a reload, a login and other filters keep it.
 *
 * @param {string} kind
 */
export function putKindInAddress(kind) {
  const url = new URL(location.href);
  url.searchParams.set("kind", kind);
  history.replaceState(null, "", url);
}

/** Why a link to this page cannot be followed; "" if it can. */
export function faultInAddress() {
  const fault = queryFault([...CHOSEN.map(({ name }) => name), "kind"]);
  const kind = kindInAddress();
  if (fault || !kind || KINDS.includes(kind)) return fault;
  return `kind must be ${KINDS.slice(0, -1).join(", ")} or ${KINDS.at(-1)}`;
}
