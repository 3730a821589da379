// What charts share: round limits, ticks, grid lines with their labels.

import { svg } from "./dom.js";

export const LEFT = 46;
export const RIGHT = 10;

// The smallest of 1, 2, 5 times a power of ten that is not below `value`.
export function roundUp(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((step) => step * power).find((limit) => limit >= wanted * 0.9999);
}

export function linear(from, to, start, end) {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

export function horizontal(y, width, label) {
  return svg(
    "g",
    {},
    svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
    svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, label),
  );
}

export function rectangle(left, right, top, bottom, attributes) {
  const size = { width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
  return svg("rect", { x: left, y: top, ...size, ...attributes });
}

// A drawing as wide as its place, so that text keeps its size.
export function canvas(place, height, attributes, ...parts) {
  const width = place.clientWidth;
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, ...attributes }, ...parts);
}
