// Draws one value on a scale: a probability with the uncertainty band, or a novelty with its threshold.

import { canvas, linear, rectangle } from "./axes.js";
import { svg } from "./dom.js";
import { edges, probability } from "./format.js";

/**
 * @param {Element} place
 * @param {number} value
 * @param {{ low: number, high: number }} band
 */
export function drawScale(place, value, band) {
  const x = linear(0, 1, 4, place.clientWidth - 4);
  const at = x(value);
  const label = `probability ${probability(value, band)}; the band is ${edges(band)}`;
  place.replaceChildren(
    canvas(
      place,
      44,
      { role: "img", "aria-label": label },
      rectangle(x(0), x(1), 14, 24, { class: "track", rx: 5 }),
      rectangle(x(band.low), x(band.high), 14, 24, { class: "band" }),
      [x(band.low), x(band.high)].map((edge) =>
        svg("line", { class: "band-edge", x1: edge, x2: edge, y1: 10, y2: 28 }),
      ),
      svg("path", { class: "pointer", d: `M${at},15l-5,-9h10z` }),
      svg("line", { class: "cursor", x1: at, x2: at, y1: 14, y2: 24 }),
      svg("text", { x: x(0), y: 40 }, "no glasses"),
      svg("text", { x: x(1), y: 40, "text-anchor": "end" }, "glasses"),
    ),
  );
}

/**
 * The threshold is in the middle; values right of it are above.
 *
 * @param {Element} place
 * @param {number} value
 * @param {number} threshold
 */
export function drawThreshold(place, value, threshold) {
  const reach = Math.max(Math.abs(value - threshold) * 1.25, 1);
  const x = linear(threshold - reach, threshold + reach, 4, place.clientWidth - 4);
  const at = x(value);
  const edge = x(threshold);
  const label = `novelty ${value.toFixed(2)}; above ${threshold.toFixed(2)} an image is unfamiliar`;
  place.replaceChildren(
    canvas(
      place,
      44,
      { role: "img", "aria-label": label },
      rectangle(4, place.clientWidth - 4, 14, 24, { class: "track", rx: 5 }),
      rectangle(edge, place.clientWidth - 4, 14, 24, { class: "beyond" }),
      svg("line", { class: "threshold", x1: edge, x2: edge, y1: 10, y2: 28 }),
      svg("path", { class: "pointer", d: `M${at},15l-5,-9h10z` }),
      svg("line", { class: "cursor", x1: at, x2: at, y1: 14, y2: 24 }),
      svg("text", { x: 4, y: 40 }, "familiar"),
      svg("text", { x: place.clientWidth - 4, y: 40, "text-anchor": "end" }, "unfamiliar"),
    ),
  );
}
