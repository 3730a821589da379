// Notices above the images, and texts for screen readers.

import { loginUrl } from "./api.js";
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

/**
 * Let screen readers say a text.
 *
 * @param {string} text
 */
export function announce(text) {
  const place = byId("announce");
  // Screen readers are silent about a text that stays the same, such as that of two equal verdicts.
  place.textContent = place.textContent === text ? `${text}\u00a0` : text;
}

export function askToLogIn() {
  const place = byId("logged-out");
  if (!place.hidden) return;
  const link = h("a", { href: loginUrl(), target: "_blank" }, "Log in in another tab");
  place.replaceChildren(
    "Your session has ended. ",
    link,
    ": this page keeps the unsaved verdicts and sends them then.",
  );
  place.hidden = false;
}
