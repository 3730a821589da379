// Panels shown in place of images: loading, the form for a name, an empty queue, and failures.

import { detailOf, statusOf } from "./api.js";
import { h } from "./dom.js";

/** @import { ReviewKind } from "../types" */
/** @import { Child } from "./dom.js" */

/** @type {Record<ReviewKind, string>} */
const EMPTY = {
  discarded: "No discarded images are waiting for a verdict.",
  audit: "No images of the audit sample are waiting for a verdict.",
  all: "No images are waiting for a verdict.",
};

export function loading() {
  return [h("div", { class: "skeleton waiting-picture" }), h("p", { class: "visually-hidden" }, "Loading images")];
}

/**
 * An empty queue; offers skipped images again if there are any.
 *
 * @param {{
 *   kind: ReviewKind, isFiltered: boolean, skipped: number, withOthers: number, onBring: () => void, onLook: () => void,
 * }} options
 */
export function empty({ kind, isFiltered, skipped, withOthers, onBring, onLook }) {
  return state(
    EMPTY[kind],
    [
      isFiltered ? "Only images that match the filters are shown." : "",
      "Discarded images appear here, and a random sample of accepted ones.",
      withOthers ? `Other reviewers are looking at ${withOthers} more.` : "",
      skipped ? `You skipped ${skipped}.` : "",
    ],
    skipped ? button(skipped === 1 ? "Show it again" : `Show the ${skipped} again`, onBring) : null,
    button("Check again", onLook),
  );
}

/**
 * @param {unknown} error
 * @param {() => void} onRetry
 */
export function failed(error, onRetry) {
  if (statusOf(error) === 404) {
    return state("Records are off.", [
      "The review needs them. Set LENSGATE_RECORDS_URL to a database, such as sqlite:///lensgate.db, and restart the service.",
    ]);
  }
  if (statusOf(error) === 403) {
    return state("Access denied.", [`${detailOf(error, "")}. Ask for a token with the scope “review”.`]);
  }
  if (statusOf(error) === 400) {
    const clear = h("a", { class: "button", href: "/review" }, "Clear the filters");
    return state("The filters cannot be applied.", [`${detailOf(error, "")}.`], clear);
  }
  const reason = detailOf(error, "The service cannot be reached.");
  return state("Images cannot be loaded.", [reason, "The page retries automatically."], button("Retry now", onRetry));
}

/**
 * A form for the reviewer's name, for services without tokens.
 *
 * @param {(name: string) => void} onName
 * @param {string} [fault] why the service refused the last name
 */
export function askName(onName, fault = "") {
  const input = h("input", {
    id: "name",
    class: "input",
    name: "name",
    maxlength: 64,
    autocomplete: "nickname",
    required: true,
    "aria-invalid": fault ? "true" : false,
    "aria-describedby": "name-note",
  });
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (name) onName(name);
    else input.setAttribute("aria-invalid", "true");
  };
  const note = "It is stored with each of your verdicts. Reviewers who use the same name see the same images.";
  return [
    h(
      "form",
      { class: "state stack", onsubmit: submit },
      h("h2", {}, "Reviewer"),
      h("div", { class: "field" }, h("label", { for: "name" }, "Your name"), input),
      fault ? h("p", { class: "notice notice--warn small", role: "alert" }, `Choose another name: ${fault}.`) : null,
      h("p", { id: "name-note", class: "soft small" }, note),
      h("button", { class: "button button--primary" }, "Start"),
    ),
  ];
}

/**
 * @param {string} title
 * @param {string[]} texts
 * @param {Child[]} buttons
 */
function state(title, texts, ...buttons) {
  const lines = texts.filter(Boolean).map((text) => h("p", { class: "soft" }, text));
  return [h("div", { class: "state stack" }, h("h2", {}, title), lines, h("div", { class: "row" }, buttons))];
}

/**
 * @param {string} text
 * @param {() => void} onclick
 */
function button(text, onclick) {
  return h("button", { type: "button", class: "button", onclick }, text);
}
