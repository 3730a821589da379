// How a decision is named and explained, the same on every page.

import { h } from "./dom.js";
import { edges, probability, words } from "./format.js";

/** @import { DecisionRecord } from "../types" */

/** @typedef {DecisionRecord["reason"]} Reason */

/** @type {Record<Reason, string>} */
const MEANINGS = {
  confident: "accepted",
  uncertain: "discarded as uncertain: inside the band",
  unfamiliar: "discarded as unfamiliar: unlike the training images",
  contradicted: "discarded as contradicted: differs from the expected label",
};

/** @param {Reason} reason */
export function meaning(reason) {
  return MEANINGS[reason];
}

/**
 * The outcome in one word: why an image was discarded, or that it was accepted.
 *
 * @param {Reason} reason
 */
export function outcome(reason) {
  return reason === "confident" ? "accepted" : reason;
}

/**
 * A badge with the outcome. Discarded images have a cross and accepted ones a tick, so that colour is not needed.
 *
 * @param {Reason} reason
 */
export function badge(reason) {
  const sign = reason === "confident" ? "✓" : "✕";
  const said = reason === "confident" ? "" : "discarded: ";
  return h(
    "span",
    { class: `badge badge--${reason}` },
    h("span", { "aria-hidden": "true" }, sign),
    h("span", {}, h("span", { class: "visually-hidden" }, said), outcome(reason)),
  );
}

/**
 * The decision in one sentence.
 *
 * @param {DecisionRecord} record
 */
export function explain({ reason, label, expected, glasses_probability: value, band }) {
  const range = `the band ${edges(band)}`;
  switch (reason) {
    case "unfamiliar":
      return "The image is unlike the training images, so its probability says little.";
    case "uncertain":
      return `The probability ${probability(value, band)} lies in ${range}.`;
    case "contradicted":
      return `The label is ${words(label)}, and ${words(expected)} was expected.`;
    default:
      return `The probability ${probability(value, band)} lies outside ${range}${expected ? ", and the label is the expected one" : ""}.`;
  }
}
