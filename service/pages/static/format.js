// Formats numbers and times. Unknown values are a dash.

/** @import { Band } from "../types" */

/** @typedef {number | null | undefined} Value */

export const UNKNOWN = "–";

const NARROW = "\u202f";

/**
 * A share of 1 as "3.1 %".
 *
 * @param {Value} share
 * @param {number} [digits]
 */
export function percent(share, digits = 1) {
  return known(share) ? `${(share * 100).toFixed(digits)}${NARROW}%` : UNKNOWN;
}

/**
 * A target in per cent with as many digits as it has: rounded down it would promise more than was certified.
 *
 * @param {Value} share
 */
export function exactPercent(share) {
  return known(share) ? `${Number((share * 100).toPrecision(10))}${NARROW}%` : UNKNOWN;
}

/**
 * An upper bound in per cent with two decimals, rounded up: it must not promise more than was computed.
 *
 * @param {Value} bound
 */
export function upper(bound) {
  // To a millionth first: 100 * 0.07 is a little more than 7.
  return percent(known(bound) ? Math.ceil(Number((bound * 1e4).toFixed(6))) / 1e4 : bound, 2);
}

/**
 * A probability as "0.973", with more digits near an edge of the band, so that the text lies on the same side of it.
 * Rounding never yields 0.000 or 1.000; such values appear as "<0.001" or ">0.999".
 *
 * @param {Value} value
 * @param {Pick<Band, "low" | "high">} band
 */
export function probability(value, { low, high }) {
  if (!known(value)) return UNKNOWN;
  const distance = Math.min(Math.abs(value - low), Math.abs(value - high));
  const isExact = Number(value.toFixed(3)) === value;
  const digits = isExact ? 3 : Math.min(8, Math.max(3, Math.ceil(-Math.log10(distance))));
  const text = value.toFixed(digits);
  const least = 10 ** -digits;
  // The text is compared, not the value: 0.9999995 is no more than 1 - 5e-7, and is rounded to 1.000000.
  if (value > 0 && Number(text) === 0) return `<${NARROW}${least.toFixed(digits)}`;
  if (value < 1 && Number(text) === 1) return `>${NARROW}${(1 - least).toFixed(digits)}`;
  return text;
}

/**
 * The band as "0.0499 to 0.99999467".
 *
 * @param {Pick<Band, "low" | "high">} band
 */
export function edges({ low, high }) {
  return `${edge(low)} to ${edge(high)}`;
}

/**
 * An edge of the band with its own digits: rounded, it could lie on the other side of a probability.
 *
 * @param {number} value
 */
export function edge(value) {
  return value.toFixed(8).replace(/\.?0+$/, "");
}

/**
 * A count with thousands separators.
 *
 * @param {Value} value
 */
export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en-GB").replaceAll(",", NARROW) : UNKNOWN;
}

/**
 * A count with its noun: "1 image", "2 images".
 *
 * @param {number} value
 * @param {string} noun
 */
export function counted(value, noun) {
  return `${count(value)} ${value === 1 ? noun : `${noun}s`}`;
}

/**
 * A rate with fewer digits for larger values.
 *
 * @param {Value} value
 */
export function rate(value) {
  if (!known(value)) return UNKNOWN;
  if (value === 0) return "0";
  return value >= 100 ? count(value) : value.toFixed(value >= 10 ? 1 : 2);
}

/**
 * Milliseconds with a unit: "0.42 ms", "21 ms", "1.20 s".
 *
 * @param {Value} value
 */
export function milliseconds(value) {
  if (!known(value)) return UNKNOWN;
  if (value >= 1000) return `${(value / 1000).toFixed(2)}${NARROW}s`;
  return `${value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)}${NARROW}ms`;
}

/**
 * Bytes with a decimal unit.
 *
 * @param {Value} value
 */
export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, value < 1000 ? 0 : Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** step).toFixed(step ? 1 : 0)}${NARROW}${units[step]}`;
}

/**
 * A time of day: "18:20:11".
 *
 * @param {number | string} time
 */
export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/**
 * Date and time with the reader's time zone: "24 Nov 2026, 18:20:11 CET". The log and the API write UTC.
 *
 * @param {number | string} time
 */
export function moment(time) {
  const day = new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
  return `${day}, ${new Date(time).toLocaleTimeString("en-GB", { timeZoneName: "short" })}`;
}

/**
 * The age: "12 s ago", "5 min ago", "3 h ago"; after a day the date, and before the reader's clock, which is late then.
 *
 * @param {number | string} time
 * @param {number} [now]
 */
export function ago(time, now = Date.now()) {
  const seconds = Math.round((now - new Date(time).getTime()) / 1000);
  if (seconds < -60 || seconds >= 86400) return moment(time);
  if (seconds < 60) return `${Math.max(0, seconds)} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}

/**
 * "no_glasses" as "no glasses".
 *
 * @param {string | null | undefined} code
 */
export function words(code) {
  return code ? code.replaceAll("_", " ") : UNKNOWN;
}

/**
 * A name in a sentence: Unicode's isolates keep names in Hebrew or Arabic from reordering the text around them.
 *
 * @param {string} name
 */
export function isolated(name) {
  return `\u2068${name}\u2069`;
}

/**
 * @param {Value} value
 * @returns {value is number}
 */
function known(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}
