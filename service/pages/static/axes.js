// Shared parts of the charts: rounded limits, scales, grid lines with labels.

import { svg } from "./dom.js";

/** @import { Attributes, Child } from "./dom.js" */
/** @typedef {(value: number) => number} Scale */

export const LEFT = 46;
export const RIGHT = 10;

/**
 * The smallest of 1, 2 or 5 times a power of ten that is at least `value`, and at least `least`.
 *
 * @param {number} value
 * @param {number} least
 */
export function roundUp(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5].map((step) => step * power).find((limit) => limit >= wanted * 0.9999) ?? 10 * power;
}

/**
 * Map the range from..to to start..end.
 *
 * @param {number} from
 * @param {number} to
 * @param {number} start
 * @param {number} end
 * @returns {Scale}
 */
export function linear(from, to, start, end) {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

/**
 * @param {number} y
 * @param {number} width
 * @param {string} label
 */
export function horizontal(y, width, label) {
  return svg(
    "g",
    {},
    svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
    svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, label),
  );
}

/**
 * @param {number} left
 * @param {number} right
 * @param {number} top
 * @param {number} bottom
 * @param {Attributes} attributes
 */
export function rectangle(left, right, top, bottom, attributes) {
  const size = { width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
  return svg("rect", { x: left, y: top, ...size, ...attributes });
}

/**
 * A drawing in the width of its container at scale 1, so that text keeps its size.
 *
 * @param {Element} container
 * @param {number} height
 * @param {Attributes} attributes
 * @param {(Child | Child[])[]} parts
 */
export function canvas(container, height, attributes, ...parts) {
  const width = container.clientWidth;
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, ...attributes }, ...parts);
}
