// The latest discarded images, reloaded after new records.

import { api, detailOf } from "./api.js";
import { h } from "./dom.js";
import { ago, moment, probability, words } from "./format.js";
import { badge } from "./reasons.js";

/** @import { DecisionRecord, Operations, RecordPage, Records } from "../types" */
/** @import { Child } from "./dom.js" */

const PATH = "/v1/decisions?decision=discard&limit=12";
// Previews are written after the response: a recent record may still receive one.
const PREVIEW_SECONDS = 15;

export class Latest {
  /** @type {Element} */
  #place;
  /** @type {number | null} */
  #seen = null;
  /** @type {DecisionRecord[] | null} */
  #records = null;
  #isLoading = false;

  /** @param {Element} place */
  constructor(place) {
    this.#place = place;
    this.#say(h("p", { class: "soft" }, "Loading …"));
  }

  /** @param {Operations} snapshot */
  async follow({ time, records }) {
    if (records.state === "off") {
      this.#say(
        h("strong", {}, "Records are off."),
        h(
          "p",
          {},
          "Images are kept only with records. Set LENSGATE_RECORDS_URL to a database and restart the service.",
        ),
      );
      return;
    }
    // One request at a time, also to a slow store.
    if (this.#isLoading) return;
    if (!this.#isDue(time, records)) {
      this.#updateAges();
      return;
    }
    this.#seen = records.written;
    this.#isLoading = true;
    try {
      /** @type {RecordPage} */
      const { decisions } = await api(PATH, { signal: AbortSignal.timeout(10_000) });
      this.#show(decisions);
    } catch (error) {
      this.#fail(error);
    }
    this.#isLoading = false;
  }

  /**
   * @param {number} time
   * @param {Records} records
   */
  #isDue(time, { written }) {
    return this.#records === null || written !== this.#seen || this.#waitsForPreviews(time, this.#records);
  }

  /**
   * @param {number} time
   * @param {DecisionRecord[]} records
   */
  #waitsForPreviews(time, records) {
    return records.some((record) => record.image === null && time - Date.parse(record.time) / 1000 < PREVIEW_SECONDS);
  }

  /** @param {unknown} error */
  #fail(error) {
    this.#records = null;
    const detail = detailOf(error, "the service does not respond");
    this.#say(h("strong", {}, "The records cannot be read."), h("p", {}, `${detail}. Decisions continue.`));
  }

  /** @param {DecisionRecord[]} records */
  #show(records) {
    const shown = this.#records?.map(key).join();
    this.#records = records;
    if (!records.length) {
      const text = "Discarded images appear here, newest first.";
      this.#say(h("strong", {}, "No discarded images."), h("p", {}, text));
    } else if (records.map(key).join() === shown) {
      this.#updateAges();
    } else {
      this.#place.replaceChildren(h("ul", { class: "thumbs" }, records.map(thumb)));
    }
  }

  #updateAges() {
    for (const time of this.#place.querySelectorAll("time")) time.textContent = ago(time.dateTime);
  }

  /** @param {Child[]} parts */
  #say(...parts) {
    this.#place.replaceChildren(h("div", { class: "empty" }, ...parts));
  }
}

/** @param {DecisionRecord} record */
function key(record) {
  return `${record.record} ${record.image} ${record.verdict}`;
}

/** @param {DecisionRecord} record */
function thumb(record) {
  return h(
    "li",
    { class: "thumb" },
    h("a", { class: "thumb-picture small", href: `/decisions/${record.record}` }, picture(record)),
    h(
      "div",
      { class: "thumb-facts small" },
      h("strong", { title: "probability of glasses" }, probability(record.glasses_probability, record.band)),
      badge(record.reason),
      record.expected && h("span", {}, `expected ${words(record.expected)}`),
      h("span", { class: "soft thumb-id", title: record.id }, record.id),
      h("time", { class: "soft", datetime: record.time, title: moment(record.time) }, ago(record.time)),
    ),
  );
}

/** @param {DecisionRecord} record */
function picture({ image, id }) {
  if (image) return h("img", { src: image, alt: `Discarded image ${id}`, width: 256, height: 256 });
  return h("span", {}, h("span", { class: "visually-hidden" }, `Discarded image ${id}: `), "no preview");
}
