// Turns the history of a snapshot into the points and texts of the charts.

import { clock, count, percent, rate } from "./format.js";

/** @import { Drift, History, HistoryList, Point } from "../types" */

/** @type {("uncertain" | "unfamiliar" | "contradicted")[]} */
export const REASONS = ["uncertain", "unfamiliar", "contradicted"];
export const WINDOW_SECONDS = 900;

const SMOOTH_SECONDS = 30;

/**
 * One point per step, preceded by one at the start of the first step, so that one step already draws a line.
 *
 * @param {History} history
 * @returns {Point[]}
 */
export function toPoints(history) {
  const points = history.times.map((_, last) => toPoint(history, last));
  return points.length ? [{ ...points[0], time: points[0].time - history.seconds[0] }, ...points] : [];
}

/**
 * Images/s of one step, and the discarded shares in the 30 s window that ends with it (null without images).
 *
 * @param {History} history
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
 * The history by minute, latest first.
 *
 * @param {History} history
 */
export function toMinutes(history) {
  const minutes = [];
  let last = history.times.length - 1;
  while (last >= 0) {
    const first = firstWithin(history, last, 60);
    /** @param {HistoryList} name */
    const add = (name) => sum(history[name], first, last);
    const reasons = REASONS.map(add);
    const images = add("decisions");
    const discarded = reasons.reduce((all, part) => all + part, 0);
    minutes.push({
      time: history.times[last],
      images,
      perSecond: images / Math.max(add("seconds"), 0.001),
      rejected: images ? discarded / images : null,
      reasons,
    });
    last = first - 1;
  }
  return minutes;
}

/** @param {Point} point */
export function readOut(point) {
  const at = clock(point.time * 1000);
  if (point.rejected === null) return `${at}: no images, 30 s window`;
  const parts = REASONS.map((reason, index) => ({ reason, share: point.shares[index] })).filter(
    ({ share }) => share > 0,
  );
  const why = parts.map(({ reason, share }) => `${reason} ${percent(share)}`).join(", ");
  return `${at}: ${rate(point.perSecond)} images/s, reject rate ${percent(point.rejected)}${why && ` (${why})`}`;
}

/** @param {History} history */
export function summarise(history) {
  const images = recent(history, "decisions", WINDOW_SECONDS);
  const discarded = REASONS.reduce((all, reason) => all + recent(history, reason, WINDOW_SECONDS), 0);
  return `Last 15 minutes: ${count(images)} images, ${count(discarded)} discarded`;
}

/**
 * The first step of the window of `seconds` that ends with step `last`; half a step of tolerance.
 *
 * @param {History} history
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
