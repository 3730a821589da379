// Notices above the images, each until it is closed.

import { byId, h } from "./dom.js";

/** @import { Child } from "./dom.js" */

/** The ids of images whose verdicts were refused, by reason. @type {Map<string, string[]>} */
const refusals = new Map();

/**
 * Show a notice until it is closed; it takes the place of one with the same key.
 *
 * @param {string} key
 * @param {Child[]} text
 */
export function warn(key, ...text) {
  const onclick = () => {
    refusals.delete(key);
    notice.remove();
  };
  const close = h("button", { type: "button", class: "button button--small", onclick }, "Close");
  const notice = h("div", { class: "notice notice--warn row", "data-key": key }, h("span", {}, ...text), close);
  const shown = [...byId("notices").children].find((other) => other.getAttribute("data-key") === key);
  if (shown) shown.replaceWith(notice);
  else byId("notices").append(notice);
}

/**
 * @param {string} id
 * @param {string} reason
 */
export function warnOfRefusal(id, reason) {
  const ids = [...(refusals.get(reason) ?? []), id];
  refusals.set(reason, ids);
  const names = ids.flatMap((each, index) => [index ? ", " : "", h("bdi", {}, each)]);
  const [verdicts, were] = ids.length === 1 ? ["verdict", "was"] : ["verdicts", "were"];
  warn(reason, `Your ${verdicts} on `, ...names, ` ${were} not accepted: ${reason}.`);
}
