// The list of decisions: filters and page come from the address, so that every view is a link.

import { queryFault } from "./address.js";
import { ApiError, api, detailOf, statusOf } from "./api.js";
import { byId, h, say } from "./dom.js";
import { FIELDS, makeControls, readForm, readQuery } from "./filters.js";
import { ago, counted, milliseconds, moment, probability, words } from "./format.js";
import { showSession } from "./header.js";
import { badge } from "./reasons.js";

/** @import { DecisionRecord, RecordPage } from "../types" */

const NARROW = matchMedia("(max-width: 640px)");
const LIMIT = 50;
const AGES_MS = 10_000;
const TRUE = /^(t|y|on|1)/i; // As the API reads it.
const NAMES = [...FIELDS.map(({ name }) => name), "cursor"];

const form = byId("filters", HTMLFormElement);
let turn = 0;

async function show() {
  turn += 1;
  const mine = turn;
  const filters = readQuery(location.search, FIELDS);
  const cursor = new URLSearchParams(location.search).get("cursor");
  fillForm(filters);
  byId("found").setAttribute("aria-busy", "true");
  try {
    const fault = queryFault(NAMES);
    if (fault) throw new ApiError(400, "malformed_request", fault);
    const query = new URLSearchParams(filters);
    query.set("limit", String(LIMIT));
    if (cursor) query.set("cursor", cursor);
    /** @type {RecordPage} */
    const page = await api(`/v1/decisions?${query}`);
    // A late response must not replace that of a later choice.
    if (mine === turn) showPage(page, filters, cursor);
  } catch (error) {
    if (mine === turn) showFault(error);
  }
  if (mine === turn) byId("found").setAttribute("aria-busy", "false");
}

/** @param {URLSearchParams} filters */
function fillForm(filters) {
  byId("fields").replaceChildren(
    ...makeControls(
      FIELDS.filter(({ more }) => !more),
      filters,
    ),
  );
  byId("more-fields").replaceChildren(
    ...makeControls(
      FIELDS.filter(({ more }) => more),
      filters,
    ),
  );
  byId("more").toggleAttribute(
    "open",
    FIELDS.some(({ name, more }) => more && filters.has(name)),
  );
  // On a phone the form would push the list below the screen.
  byId("box").toggleAttribute("open", !NARROW.matches);
  say(byId("box-title"), filters.size ? `Filters (${filters.size} in use)` : "Filters");
}

/**
 * @param {RecordPage} page
 * @param {URLSearchParams} filters
 * @param {string | null} cursor
 */
function showPage({ decisions, next }, filters, cursor) {
  byId("fault").replaceChildren();
  byId("found").hidden = false;
  byId("results").replaceChildren(...decisions.map(row));
  say(byId("count"), countText(decisions.length, { isFiltered: filters.size > 0, isFirst: !cursor, isLast: !next }));
  link("newest", cursor ? pageUrl(filters) : null);
  link("older", next ? pageUrl(filters, next) : null);
  byId("pages").hidden = !cursor && !next;
  link("review", reviewUrl(filters));
  const table = new URLSearchParams(filters);
  table.set("format", "csv");
  byId("table").setAttribute("href", `/v1/decisions?${table}`);
}

/**
 * @param {number} shown
 * @param {{ isFiltered: boolean, isFirst: boolean, isLast: boolean }} place
 */
function countText(shown, { isFiltered, isFirst, isLast }) {
  if (!shown && !isFirst) return "No older decisions.";
  if (!shown) return isFiltered ? "No decision matches these filters." : "No decisions yet.";
  const part = isFirst && isLast ? "" : " of more";
  return `${counted(shown, "decision")}${part}${shown === 1 ? "" : ", newest first"}`;
}

/** @param {unknown} error */
function showFault(error) {
  byId("found").hidden = true;
  const detail = detailOf(error, "the service does not respond");
  const texts = {
    400: `The filters cannot be applied: ${detail}.`,
    403: `Access denied: ${detail}.`,
    404: `${detail}.`,
  };
  const text = texts[/** @type {keyof typeof texts} */ (statusOf(error))] ?? `The records cannot be read: ${detail}.`;
  const again = h("button", { type: "button", class: "button button--small", onclick: show }, "Try again");
  byId("fault").replaceChildren(
    h("div", { class: "notice notice--warn row" }, h("span", {}, text), statusOf(error) === 400 ? null : again),
  );
}

/** @param {DecisionRecord} record */
function row(record) {
  const {
    id,
    image,
    glasses_probability: value,
    label,
    reason,
    source,
    expected,
    model,
    latency_ms: latency,
    band,
    verdict,
  } = record;
  const picture = image
    ? h("img", { src: image, alt: "", loading: "lazy", width: 256, height: 256 })
    : h("span", { class: "result-none", "aria-hidden": "true" });
  return h(
    "li",
    { class: "result", "data-record": record.record },
    picture,
    h("a", { class: "result-id mono", href: `/decisions/${record.record}` }, id),
    badge(reason),
    h("span", { class: "result-score" }, h("strong", {}, probability(value, band)), ` ${words(label)}`),
    h("span", { class: "result-source soft" }, source ?? ""),
    h("span", { class: "result-expected soft" }, expected ? `expected ${words(expected)}` : "no order"),
    h("span", { class: "result-version soft" }, `version ${model.version}`),
    h("span", { class: "result-review soft" }, verdict ? `reviewed: ${words(verdict)}` : ""),
    h("span", { class: "result-latency soft" }, milliseconds(latency)),
    h("time", { class: "soft", datetime: record.time, title: moment(record.time) }, ago(record.time)),
  );
}

/**
 * @param {string} id
 * @param {string | null} href
 */
function link(id, href) {
  const place = byId(id);
  place.hidden = href === null;
  if (href !== null) place.setAttribute("href", href);
}

/**
 * @param {URLSearchParams} filters
 * @param {string} [cursor]
 */
function pageUrl(filters, cursor) {
  const query = new URLSearchParams(filters);
  if (cursor) query.set("cursor", cursor);
  return query.size ? `/decisions?${query}` : "/decisions";
}

/**
 * The review of these images; null for images with a verdict, which are no longer in it.
 *
 * @param {URLSearchParams} filters
 */
function reviewUrl(filters) {
  if (filters.has("verdict")) return null;
  const query = new URLSearchParams(filters);
  const audit = query.get("audit");
  query.delete("audit");
  query.set("kind", audit === null ? "all" : TRUE.test(audit) ? "audit" : "discarded");
  return `/review?${query}`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(pageUrl(readForm(form, FIELDS)));
});
setInterval(() => {
  for (const time of byId("results").querySelectorAll("time")) say(time, ago(time.dateTime));
}, AGES_MS);
show();
showSession().catch(() => {}); // The list reports the same problem.
