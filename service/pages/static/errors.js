// Failed requests by code over the chosen window, each with examples that lead to what is known of them.

import { api } from "./api.js";
import { canvas, rectangle } from "./axes.js";
import { byId, h, say } from "./dom.js";
import { ago, count, isolated, moment } from "./format.js";

/** @import { Failure, FailurePage, OperationsHistory } from "../types" */

const EXAMPLES = 3;
const HEIGHT = 34;

export class Errors {
  /** @type {Map<string, { total: number, failures: Failure[] }>} */
  #examples = new Map();
  #shown = "";
  #turn = 0;

  /** @param {OperationsHistory} history */
  async show({ errors }) {
    this.#turn += 1;
    const turn = this.#turn;
    const totals = Object.entries(errors)
      .map(([code, counts]) => ({ code, counts, total: counts.reduce((all, each) => all + each, 0) }))
      .filter(({ total }) => total > 0)
      .sort((one, other) => other.total - one.total);
    await Promise.all(totals.map(({ code, total }) => this.#load(code, total)));
    // Late examples must not bring back the window chosen before.
    if (turn !== this.#turn) return;
    const key = JSON.stringify([totals, [...this.#examples]]);
    const place = byId("errors");
    if (key === this.#shown) {
      for (const time of place.querySelectorAll("time")) say(time, ago(time.dateTime));
      return;
    }
    this.#shown = key;
    if (!totals.length) {
      place.replaceChildren(h("p", { class: "soft" }, "No request for a decision failed in this window."));
      return;
    }
    const most = Math.max(...totals.flatMap(({ counts }) => counts));
    const items = totals.map(({ code, counts, total }) => this.#item(code, counts, total));
    place.replaceChildren(h("ul", { class: "errors" }, items));
    for (const [index, { counts, code }] of totals.entries()) {
      drawBars(place.querySelectorAll(".error-bars")[index], counts, {
        most,
        label: `${code}: ${count(totals[index].total)}`,
      });
    }
  }

  /**
   * @param {string} code
   * @param {number} total
   */
  async #load(code, total) {
    if (this.#examples.get(code)?.total === total) return;
    const query = new URLSearchParams({ code, limit: String(EXAMPLES) });
    try {
      /** @type {FailurePage} */
      const { failures } = await api(`/v1/failures?${query}`, { signal: AbortSignal.timeout(10_000) });
      this.#examples.set(code, { total, failures });
    } catch {
      // The next reading tries again; the counts are shown without examples.
    }
  }

  /**
   * @param {string} code
   * @param {number[]} counts
   * @param {number} total
   */
  #item(code, counts, total) {
    const failures = this.#examples.get(code)?.failures ?? [];
    return h(
      "li",
      { class: "error" },
      h("p", { class: "row" }, h("strong", { class: "mono" }, code), h("span", {}, count(total))),
      h("div", { class: "error-bars chart", "data-steps": counts.length }),
      h("ul", { class: "error-examples small" }, failures.map(example)),
    );
  }
}

/** @param {Failure} failure */
function example({ id, request_id: request, time, detail, source, token }) {
  const who = [source && `source ${isolated(source)}`, token && `token ${isolated(token)}`].filter(Boolean).join(", ");
  return h(
    "li",
    {},
    h(
      "a",
      { class: "mono", href: `/decisions/${encodeURIComponent(request)}`, title: `request ${request}` },
      id ?? request,
    ),
    " ",
    h("time", { class: "soft", datetime: time, title: moment(time) }, ago(time)),
    h("span", { class: "soft error-detail" }, who ? `${detail} (${who})` : detail),
  );
}

/**
 * @param {Element} place
 * @param {number[]} counts
 * @param {{ most: number, label: string }} options
 */
function drawBars(place, counts, { most, label }) {
  const width = place.clientWidth / counts.length;
  const bars = counts.map((each, index) => {
    if (!each) return null;
    const top = HEIGHT - Math.max(2, (each / most) * (HEIGHT - 2));
    return rectangle(index * width, Math.max(index * width + 1, (index + 1) * width - 1), top, HEIGHT, {
      class: "bar--error",
    });
  });
  place.replaceChildren(
    canvas(
      place,
      HEIGHT + 1,
      { role: "img", "aria-label": label },
      rectangle(0, place.clientWidth, HEIGHT, HEIGHT + 1, { class: "track" }),
      ...bars,
    ),
  );
}
