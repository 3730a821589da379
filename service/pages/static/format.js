// Numbers and times as people read them. What is not known is a dash.

export const UNKNOWN = "–";

const NARROW = "\u202f";

// A share of 1 as "3.1 %".
export function percent(share, digits = 1) {
  return known(share) ? `${(share * 100).toFixed(digits)}${NARROW}%` : UNKNOWN;
}

// A probability as "0.973"; what is not certain is never shown as 0.000 or 1.000.
export function probability(value, digits = 3) {
  if (!known(value)) return UNKNOWN;
  const least = 10 ** -digits;
  if (value > 0 && value < least / 2) return `<${NARROW}${least.toFixed(digits)}`;
  if (value < 1 && value > 1 - least / 2) return `>${NARROW}${(1 - least).toFixed(digits)}`;
  return value.toFixed(digits);
}

// A count with thousands apart.
export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en-GB").replaceAll(",", NARROW) : UNKNOWN;
}

// Something per second: fewer digits the larger it is.
export function rate(value) {
  if (!known(value)) return UNKNOWN;
  if (value === 0) return "0";
  return value >= 100 ? count(value) : value.toFixed(value >= 10 ? 1 : 2);
}

// Milliseconds with a unit: "0.42 ms", "21 ms", "1.20 s".
export function milliseconds(value) {
  if (!known(value)) return UNKNOWN;
  if (value >= 1000) return `${(value / 1000).toFixed(2)}${NARROW}s`;
  return `${value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)}${NARROW}ms`;
}

// Bytes with a unit, powers of ten.
export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, value < 1000 ? 0 : Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** step).toFixed(step ? 1 : 0)}${NARROW}${units[step]}`;
}

// A clock time of today: "18:20:11".
export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

// Date and time: "24 Nov 2026, 18:20:11".
export function moment(time) {
  const day = new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
  return `${day}, ${clock(time)}`;
}

// How long ago: "12 s ago", "5 min ago", "3 h ago", then the date.
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - new Date(time)) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : moment(time);
}

// "no_glasses" as "no glasses".
export function words(code) {
  return code ? code.replaceAll("_", " ") : UNKNOWN;
}

function known(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}
