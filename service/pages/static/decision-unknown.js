// The decision page for a name without a decision: the failed requests of that name, the likely causes, and a search.

import { api, detailOf } from "./api.js";
import { h } from "./dom.js";
import { moment } from "./format.js";

/** @import { Failure, FailurePage } from "../types" */
/** @import { Child } from "./dom.js" */

/**
 * @param {string} name
 * @param {unknown} error
 */
export async function unknown(name, error) {
  const failures = await findFailures(name);
  if (failures.length) return [h("div", { class: "stack" }, failures.map(failureCard), searchCard(name))];
  return [
    h(
      "div",
      { class: "card stack unknown" },
      h("h2", {}, "No decision with this id"),
      h("p", {}, `${detailOf(error, "")}.`),
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
async function findFailures(name) {
  /** @param {"id" | "request_id"} kind */
  const ask = async (kind) => {
    const query = new URLSearchParams({ [kind]: name, limit: "5" });
    /** @type {FailurePage} */
    const { failures } = await api(`/v1/failures?${query}`, { signal: AbortSignal.timeout(10_000) }).catch(() => ({
      failures: [],
    }));
    return failures;
  };
  const found = [...(await ask("request_id")), ...(await ask("id"))];
  return [...new Map(found.map((failure) => [failure.record, failure])).values()];
}

/** @param {Failure} failure */
function failureCard(failure) {
  const { id, source, token, status, code, detail, path, time, request_id: request } = failure;
  /** @type {[string, Child][]} */
  const facts = [
    ["Time", moment(time)],
    ["Id", id ? h("a", { class: "mono", href: `/decisions?${new URLSearchParams({ id })}` }, id) : "not given"],
    ["Source", source ?? "not given"],
    ["Token", token ?? "none"],
    ["Path", h("span", { class: "mono" }, path)],
    ["Status", status === null ? "one image of an upload" : String(status)],
  ];
  return h(
    "section",
    { class: "card stack failure" },
    h("h2", { class: "row" }, "No decision: the request failed", h("span", { class: "badge badge--bad" }, code)),
    h("p", {}, `${detail}.`),
    h(
      "dl",
      { class: "facts" },
      facts.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact))),
    ),
    h("p", { class: "small" }, "Its log line has this request id:"),
    h("pre", { class: "log-id", tabindex: 0 }, request),
  );
}

/** @param {string} name */
function searchCard(name) {
  return h("div", { class: "card" }, search(name));
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
