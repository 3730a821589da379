// Turns the history of a snapshot into the points and texts of the charts.

import { clock, count, counted, percent, rate } from "./format.js";

/** @import { Drift, History, HistoryList, Point, Span } from "../types" */

/** @type {("uncertain" | "unfamiliar" | "contradicted")[]} */
export const REASONS = ["uncertain", "unfamiliar", "contradicted"];

/** @typedef {Pick<History, "times" | "seconds" | "decisions" | "unfamiliar" | "uncertain" | "contradicted">} Counts */

const SMOOTH_SECONDS = 30;

/**
 * One point per step, preceded by one at the start of the first step, so that one step already draws a line.
 *
 * @param {Counts} history
 * @returns {Point[]}
 */
export function toPoints(history) {
  const points = history.times.map((_, last) => toPoint(history, last));
  return points.length ? [{ ...points[0], time: points[0].time - history.seconds[0] }, ...points] : [];
}

/**
 * Images/s of one step, and the discarded shares in the 30 s window that ends with it (null without images).
 *
 * @param {Counts} history
 * @param {number} last
 * @returns {Point}
 */
function toPoint(history, last) {
  const first = firstWithin(history, last, SMOOTH_SECONDS);
  const images = sum(history.decisions, first, last);
  const shares = REASONS.map((reason) => (images ? sum(history[reason], first, last) / images : 0));
  return {
    time: history.times[last],
    perSecond: history.seconds[last] > 0 ? history.decisions[last] / history.seconds[last] : 0,
    shares,
    rejected: images ? shares.reduce((all, share) => all + share, 0) : null,
  };
}

/**
 * Images/s over the last 30 seconds; null before the first step.
 *
 * @param {History} history
 */
export function throughput(history) {
  const last = history.times.length - 1;
  if (last < 0) return null;
  const first = firstWithin(history, last, SMOOTH_SECONDS);
  return sum(history.decisions, first, last) / Math.max(sum(history.seconds, first, last), 0.001);
}

/**
 * The sum of one list over the last `seconds`.
 *
 * @param {History} history
 * @param {HistoryList} name
 * @param {number} seconds
 */
export function recent(history, name, seconds) {
  const last = history.times.length - 1;
  return last < 0 ? 0 : sum(history[name], firstWithin(history, last, seconds), last);
}

/**
 * Whether the drift exceeds the limit that chance alone explains; unknown drift does not.
 *
 * @param {Drift} drift
 * @returns {drift is { psi: number, limit: number }}
 */
export function exceedsLimit(drift) {
  return drift.psi !== null && drift.limit !== null && drift.psi > drift.limit;
}

/**
 * The history by minute, or by step where these are longer; latest first, and without rows that are empty to the end.
 *
 * @param {Span} span
 */
export function toRows(span) {
  const rows = [];
  let last = span.times.length - 1;
  while (last >= 0) {
    const first = firstWithin(span, last, 60);
    /** @param {"decisions" | (typeof REASONS)[number]} name */
    const add = (name) => sum(span[name], first, last);
    const reasons = REASONS.map(add);
    const images = add("decisions");
    const discarded = reasons.reduce((all, part) => all + part, 0);
    rows.push({
      time: span.times[last],
      images,
      perSecond: images / Math.max(sum(span.seconds, first, last), 0.001),
      rejected: images ? discarded / images : null,
      reasons,
    });
    last = first - 1;
  }
  return rows.slice(0, rows.findLastIndex(({ images }) => images > 0) + 1);
}

/** @param {Point} point */
export function readOut(point) {
  const at = clock(point.time * 1000);
  if (point.rejected === null) return `${at}: no images`;
  const parts = REASONS.map((reason, index) => ({ reason, share: point.shares[index] })).filter(
    ({ share }) => share > 0,
  );
  const why = parts.map(({ reason, share }) => `${reason} ${percent(share)}`).join(", ");
  return `${at}: ${rate(point.perSecond)} images/s, reject rate ${percent(point.rejected)}${why && ` (${why})`}`;
}

/** @param {Span} span */
export function summarise(span) {
  const { images, discarded } = totals(span);
  return `Last ${span.name}: ${counted(images, "image")}, ${count(discarded)} discarded`;
}

/**
 * All images of a history, and the discarded ones among them.
 *
 * @param {Counts} history
 */
export function totals(history) {
  const last = history.times.length - 1;
  return {
    images: sum(history.decisions, 0, last),
    discarded: REASONS.reduce((all, reason) => all + sum(history[reason], 0, last), 0),
  };
}

/**
 * The first step of the window of `seconds` that ends with step `last`; half a step of tolerance.
 *
 * @param {{ seconds: number[] }} history
 * @param {number} last
 * @param {number} seconds
 */
function firstWithin(history, last, seconds) {
  let first = last;
  let covered = history.seconds[last];
  while (first > 0 && covered + history.seconds[first - 1] / 2 <= seconds) {
    first -= 1;
    covered += history.seconds[first];
  }
  return first;
}

/**
 * @param {number[]} list
 * @param {number} first
 * @param {number} last
 */
function sum(list, first, last) {
  let total = 0;
  for (let index = first; index <= last; index += 1) total += list[index];
  return total;
}
