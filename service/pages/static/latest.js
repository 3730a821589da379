// The latest discarded images: read anew when something was recorded.

import { api } from "./api.js";
import { h } from "./dom.js";
import { ago, moment, probability, words } from "./format.js";

const PATH = "/v1/decisions?decision=discard&limit=12";
// A picture is made behind the answer: for a while there may still come one.
const PICTURE_SECONDS = 15;

export class Latest {
  #place;
  #seen = null;
  #records = null;
  #asking = false;

  constructor(place) {
    this.#place = place;
    this.#say(h("p", { class: "soft" }, "Loading …"));
  }

  async follow({ time, records }) {
    if (records.state === "off") {
      this.#say(
        h("strong", {}, "Records are off."),
        h("p", {}, "Without them no image is kept. Set LENSGATE_RECORDS_URL to a database and restart the service."),
      );
      return;
    }
    // A slow store is not asked again before it has answered.
    if (this.#asking) return;
    if (!this.#isDue(time, records)) {
      if (this.#records) this.#age();
      return;
    }
    this.#seen = records.written;
    this.#asking = true;
    try {
      this.#show((await api(PATH, { signal: AbortSignal.timeout(10_000) })).decisions, time);
    } catch (error) {
      this.#fail(error);
    }
    this.#asking = false;
  }

  #isDue(time, { written }) {
    return this.#records === null || written !== this.#seen || this.#waitsForPictures(time);
  }

  #waitsForPictures(time) {
    return this.#records.some(
      (record) => record.image === null && time - Date.parse(record.time) / 1000 < PICTURE_SECONDS,
    );
  }

  #fail(error) {
    this.#records = null;
    const detail = error.detail ?? "the service does not answer";
    this.#say(h("strong", {}, "The records cannot be read."), h("p", {}, `${detail}. Deciding goes on.`));
  }

  #show(records) {
    const shown = this.#records?.map(key).join();
    this.#records = records;
    if (!records.length) {
      const promise = "What the gate throws away is shown here, the newest first.";
      this.#say(h("strong", {}, "Nothing was discarded."), h("p", {}, promise));
    } else if (records.map(key).join() === shown) {
      this.#age();
    } else {
      this.#place.replaceChildren(h("ul", { class: "thumbs" }, records.map(thumb)));
    }
  }

  #age() {
    for (const time of this.#place.querySelectorAll("time")) time.textContent = ago(time.dateTime);
  }

  #say(...parts) {
    this.#place.replaceChildren(h("div", { class: "empty" }, ...parts));
  }
}

function key(record) {
  return `${record.record} ${record.image} ${record.verdict}`;
}

function thumb(record) {
  return h(
    "li",
    { class: "thumb" },
    h("div", { class: "thumb-picture small" }, picture(record)),
    h(
      "div",
      { class: "thumb-facts small" },
      h("strong", { title: "probability of glasses" }, probability(record.glasses_probability)),
      h("span", { class: `badge badge--${record.reason}` }, words(record.reason)),
      record.expected && h("span", {}, `asked for ${words(record.expected)}`),
      h("span", { class: "soft thumb-id", title: record.id }, record.id),
      h("time", { class: "soft", datetime: record.time, title: moment(record.time) }, ago(record.time)),
    ),
  );
}

function picture({ image, id }) {
  return image ? h("img", { src: image, alt: `Discarded image ${id}`, width: 256, height: 256 }) : "no picture kept";
}
