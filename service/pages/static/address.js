// The address of a page: a part that the page does not read is named, because it may be an order.

import { byId, h } from "./dom.js";
import { isolated } from "./format.js";

const LONGEST = 64;

/**
 * Why the query cannot be followed: a name that the page does not read, one without a value or with two; "" if it can.
 *
 * @param {string[]} names the names that the page reads
 */
export function queryFault(names) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of query) {
    if (!names.includes(name)) return `unknown name ${quoted(name)}, accepted: ${names.join(", ")}`;
    if (!value) return `${name} is empty, give a value or leave it out`;
    if (query.get(name) !== value) return `${name} has two values, give one`;
  }
  return "";
}

/**
 * Say above the content that a part of the address has no effect, unless it is empty.
 *
 * @param {string} part
 * @param {string} advice
 */
export function warnOfPart(part, advice) {
  if (!part) return;
  const text = `${quoted(part)} in the address has no effect: ${advice}.`;
  byId("main").prepend(h("p", { class: "notice notice--warn", role: "alert" }, text));
}

/** @param {string} text */
function quoted(text) {
  return `“${isolated(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text)}”`;
}
