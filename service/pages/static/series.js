// From the history of a snapshot to what is drawn and read out.

import { clock, count, percent, rate } from "./format.js";

export const REASONS = ["uncertain", "unfamiliar", "contradicted"];
export const WINDOW_SECONDS = 900;

const SMOOTH_SECONDS = 30;

// One point a step, and one where the first begins, so that a service that has just started has a line as well.
export function toPoints(history) {
  const points = history.times.map((_, last) => toPoint(history, last));
  return points.length ? [{ ...points[0], time: points[0].time - history.seconds[0] }, ...points] : [];
}

// Images/s of the step, and shares discarded over the 30 s before its end (null: no image then).
function toPoint(history, last) {
  const first = firstWithin(history, last, SMOOTH_SECONDS);
  const images = sum(history.decisions, first, last);
  const shares = REASONS.map((reason) => (images ? sum(history[reason], first, last) / images : null));
  return {
    time: history.times[last],
    perSecond: history.seconds[last] > 0 ? history.decisions[last] / history.seconds[last] : 0,
    shares,
    rejected: images ? shares.reduce((all, share) => all + share, 0) : null,
  };
}

// Images each second over the last 30 seconds; null before there is a step.
export function throughput(history) {
  const last = history.times.length - 1;
  if (last < 0) return null;
  const first = firstWithin(history, last, SMOOTH_SECONDS);
  return sum(history.decisions, first, last) / Math.max(sum(history.seconds, first, last), 0.001);
}

// What was counted in the last `seconds`, by the name of a list.
export function recent(history, name, seconds) {
  const last = history.times.length - 1;
  return last < 0 ? 0 : sum(history[name], firstWithin(history, last, seconds), last);
}

// Whether scores have drifted further than chance explains; what is not known has not.
export function isAbove({ psi, limit }) {
  return psi !== null && limit !== null && psi > limit;
}

// The same by the minute, the latest first.
export function toMinutes(history) {
  const minutes = [];
  let last = history.times.length - 1;
  while (last >= 0) {
    const first = firstWithin(history, last, 60);
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

export function readOut(point) {
  const at = clock(point.time * 1000);
  if (point.rejected === null) return `${at}: no image in the 30 s before`;
  const parts = REASONS.map((reason, index) => [reason, point.shares[index]]).filter(([, share]) => share > 0);
  const why = parts.map(([reason, share]) => `${reason} ${percent(share)}`).join(", ");
  return `${at}: ${rate(point.perSecond)} images/s, rejected ${percent(point.rejected)}${why && ` (${why})`}`;
}

export function summarise(history) {
  const images = recent(history, "decisions", WINDOW_SECONDS);
  const discarded = REASONS.reduce((all, reason) => all + recent(history, reason, WINDOW_SECONDS), 0);
  return `The last 15 minutes: ${count(images)} images, ${count(discarded)} discarded`;
}

// The first step that ends within so many seconds before the end of step `last`; half a step is forgiven.
function firstWithin(history, last, seconds) {
  let first = last;
  let covered = history.seconds[last];
  while (first > 0 && covered + history.seconds[first - 1] / 2 <= seconds) {
    first -= 1;
    covered += history.seconds[first];
  }
  return first;
}

function sum(list, first, last) {
  let total = 0;
  for (let index = first; index <= last; index += 1) total += list[index];
  return total;
}
