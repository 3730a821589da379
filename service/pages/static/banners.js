// Says above everything what is wrong with the service, or with the way to it, and how it is, in the header.

import { byId, h } from "./dom.js";
import { count, moment } from "./format.js";
import { isAbove } from "./series.js";

const STATES = {
  ready: ["Ready", "good"],
  draining: ["Draining", "warn"],
  failed: ["Failed", "bad"],
  offline: ["No connection", "bad"],
  forbidden: ["No permission", "warn"],
};

const STATE_TROUBLES = {
  draining: ["warn", "The service is shutting down: it finishes what it has and admits nothing more."],
  failed: ["bad", "The inference thread has ended: no image is decided about until the service is restarted."],
};

export class Banners {
  #retry;
  #shown = "";

  // `retry` asks the service at once.
  constructor(retry) {
    this.#retry = retry;
  }

  answered(snapshot) {
    this.#state(snapshot.state);
    this.#show(troubles(snapshot));
  }

  // `last` is what was last heard of the service, or null.
  failed(error, last) {
    if (error.status === 403) {
      this.#state("forbidden");
      this.#show([["warn", `You may not see this page: ${error.detail}. Ask for a token with the scope “review”.`]]);
      return;
    }
    this.#state("offline");
    const reason = error.status ? ` (${error.detail})` : "";
    const since = last ? ` What you see is of ${moment(last.time * 1000)}.` : "";
    this.#show([["bad", `The service does not answer${reason}. It is asked again by itself.${since}`, "retry"]]);
  }

  #state(name) {
    const [text, kind] = STATES[name];
    const badge = byId("state");
    badge.className = `badge badge--dot badge--${kind}`;
    if (badge.textContent !== text) badge.textContent = text;
  }

  // Only where something changed: a screen reader reads out what is written here.
  #show(notices) {
    const key = JSON.stringify(notices);
    if (key === this.#shown) return;
    this.#shown = key;
    const place = byId("banners");
    place.hidden = notices.length === 0;
    place.replaceChildren(...notices.map((notice) => this.#notice(...notice)));
  }

  #notice(kind, text, action) {
    const attributes = { type: "button", class: "button button--small", onclick: this.#retry };
    const button = action && h("button", attributes, "Try now");
    return h("div", { class: `notice notice--${kind} row` }, h("span", {}, text), button);
  }
}

function troubles({ state, records, drift }) {
  const found = [];
  if (state in STATE_TROUBLES) found.push(STATE_TROUBLES[state]);
  if (records.state === "failing") found.push(["warn", recordsTrouble(records)]);
  if (isAbove(drift)) found.push(["warn", driftTrouble(drift)]);
  return found;
}

function recordsTrouble({ dropped }) {
  const lost = dropped ? `, ${count(dropped)} were not recorded` : "";
  return `Decisions cannot be recorded at present${lost}. Deciding goes on; see the log for the reason.`;
}

function driftTrouble({ psi, limit }) {
  const numbers = `${psi.toFixed(2)}, by chance it stays below ${limit.toFixed(2)}`;
  return (
    `The scores have drifted from those of the model's card (${numbers}): ` +
    "the images may be of another kind than those it was measured on."
  );
}
