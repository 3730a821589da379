// The facts beside an image: the model's answer on a scale with the band (or hidden), and the rest.

import { h, svg } from "./dom.js";
import { edges, moment, probability, words } from "./format.js";
import { badge, meaning, outcome } from "./reasons.js";

/** @import { AnswerVisibility, ReviewImage } from "../types" */
/** @import { Child } from "./dom.js" */

/**
 * @param {ReviewImage} image
 * @param {AnswerVisibility} answer
 */
export function isHidden(image, answer) {
  return answer === "hidden" || (answer === "audit" && image.audit);
}

/**
 * @param {ReviewImage} image
 * @param {boolean} hidden
 */
export function facts(image, hidden) {
  return h(
    "div",
    { class: "image-facts stack" },
    hidden ? veil() : scale(image),
    h(
      "dl",
      { class: "fact-list" },
      hidden
        ? []
        : [
            fact("Outcome", badge(image.reason)),
            fact("Reason", image.audit ? `${meaning(image.reason)}; part of the audit sample` : meaning(image.reason)),
            fact("Expected", image.expected ? words(image.expected) : "not given"),
          ],
      fact("Decided", moment(image.time)),
      fact(
        "Id",
        hidden
          ? h("span", { class: "mono" }, image.id)
          : h("a", { class: "mono", href: `/decisions/${image.record}` }, image.id),
      ),
    ),
  );
}

/**
 * The model's answer in a few words, for screen readers and for the line after a verdict.
 *
 * @param {ReviewImage} image
 */
export function describe(image) {
  const expected = image.expected ? `, expected ${words(image.expected)}` : "";
  return `${words(image.label)} ${probability(image.glasses_probability, image.band)}, ${outcome(image.reason)}${expected}`;
}

/** @param {ReviewImage} image */
function scale({ glasses_probability: value, label, band }) {
  const range = edges(band);
  return h(
    "div",
    {
      class: "scale",
      role: "img",
      "aria-label": `probability of glasses ${probability(value, band)}; discarded from ${range}`,
    },
    h("p", { class: "scale-value" }, probability(value, band), h("span", { class: "soft small" }, ` ${words(label)}`)),
    svg(
      "svg",
      { viewBox: "0 0 1000 26", preserveAspectRatio: "none", class: "scale-picture", "aria-hidden": "true" },
      svg("rect", { class: "scale-track", x: 0, y: 8, width: 1000, height: 10 }),
      svg("rect", { class: "scale-band", x: band.low * 1000, y: 8, width: (band.high - band.low) * 1000, height: 10 }),
      svg("rect", {
        class: "scale-pointer",
        x: Math.min(994, Math.max(0, value * 1000 - 3)),
        y: 0,
        width: 6,
        height: 26,
      }),
    ),
    h(
      "p",
      { class: "scale-ends soft small" },
      h("span", {}, "no glasses"),
      h("span", {}, `band ${range}`),
      h("span", {}, "glasses"),
    ),
  );
}

function veil() {
  return h("p", { class: "veil soft small" }, "The model's answer stays hidden until your verdict.");
}

/**
 * @param {string} name
 * @param {Child} value
 */
function fact(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}
