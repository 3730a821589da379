// Draws the latest scores in front of the card's, with the uncertainty band; the axis of shares is logarithmic.

import { canvas, horizontal, LEFT, linear, RIGHT, rectangle } from "./axes.js";
import { svg } from "./dom.js";
import { count, edge, edges, percent } from "./format.js";

/** @import { Band, Scores } from "../types" */
/** @import { Scale } from "./axes.js" */

const TOP = 22;
const BOTTOM = 34;
const LEAST = 0.0005;
// The label above the band, and half of its width.
const UNCERTAIN = "discarded as uncertain";
const HALF = 70;
const LINES = [0.001, 0.01, 0.1, 1];

/**
 * @param {Element} place
 * @param {Scores} scores
 * @param {Band} band
 */
export function drawHistogram(place, scores, band) {
  if (!place.clientWidth) return;
  const width = place.clientWidth;
  const height = width < 480 ? 230 : 330;
  const base = height - BOTTOM;
  const x = linear(0, 1, LEFT, width - RIGHT);
  const log = linear(Math.log10(LEAST), 0, base, TOP);
  /** @type {Scale} */
  const y = (share) => (share > LEAST ? log(Math.log10(share)) : base);
  place.replaceChildren(
    canvas(
      place,
      height,
      { role: "img", "aria-label": describe(scores, band) },
      rectangle(x(band.low), x(band.high), TOP, base, { class: "band" }),
      LINES.map((share) => horizontal(y(share), width, percent(share, share < 0.01 ? 1 : 0))),
      scores.counts.map((images, bin) => drawBin(scores, bin, images, { x, y, base })),
      [band.low, band.high].map((edge) => drawEdge(x(edge), base)),
      label(Math.min(Math.max(x((band.low + band.high) / 2), HALF), width - HALF), TOP - 8, UNCERTAIN, "middle"),
      svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: base, y2: base }),
      [0, 0.25, 0.5, 0.75, 1].map((at) => label(x(at), base + 15, String(at), "middle")),
      label(x(0.5), base + 31, "probability of glasses", "middle"),
    ),
  );
}

/**
 * @param {Scores} scores
 * @param {number} bin
 * @param {number} images
 * @param {{ x: Scale, y: Scale, base: number }} axes
 */
function drawBin(scores, bin, images, { x, y, base }) {
  const [left, right] = [x(bin / 20), x((bin + 1) / 20)];
  const share = scores.total ? images / scores.total : 0;
  const inset = (right - left) * 0.22;
  const title = `${range(bin)}: ${count(images)} images, ${percent(share)}; card ${percent(scores.reference[bin])}`;
  return svg(
    "g",
    {},
    svg("title", {}, title),
    rectangle(left + 1, right - 1, y(scores.reference[bin]), base, { class: "bar--reference" }),
    rectangle(left + inset, right - inset, y(share), base, { class: "bar" }),
  );
}

/**
 * @param {number} x
 * @param {number} base
 */
function drawEdge(x, base) {
  return svg("line", { class: "band-edge", x1: x, x2: x, y1: TOP, y2: base });
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} text
 * @param {string} anchor
 */
function label(x, y, text, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, text);
}

/** @param {number} bin */
export function range(bin) {
  return `${(bin / 20).toFixed(2)} to ${((bin + 1) / 20).toFixed(2)}`;
}

/**
 * Sentences about the bins that an edge divides: their bars also count images outside the band.
 *
 * @param {Band} band
 */
export function describeDivided({ low, high }) {
  return [
    { at: low, uncertain: `from ${edge(low)} on` },
    { at: high, uncertain: `up to ${edge(high)}` },
  ]
    .filter(({ at }) => Math.abs(at * 20 - Math.round(at * 20)) > 1e-9)
    .map(({ at, uncertain }) => ` In the bin ${range(Math.floor(at * 20))} only scores ${uncertain} are uncertain.`)
    .join("");
}

/**
 * @param {Scores} scores
 * @param {Band} band
 */
function describe(scores, band) {
  if (!scores.total) return "Histogram of scores: no scores yet";
  const low = scores.counts.slice(0, 10).reduce((all, images) => all + images, 0);
  return (
    `Histogram of the latest ${count(scores.total)} scores: ${percent(low / scores.total)} below 0.5, ` +
    `${percent(1 - low / scores.total)} above. The uncertainty band is ${edges(band)}. The table below lists every bin.`
  );
}
