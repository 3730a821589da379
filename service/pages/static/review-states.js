// What stands in place of images: loading, a name to be given, nothing that waits, and what is wrong.

import { h } from "./dom.js";

const EMPTY = {
  discarded: "No discarded image waits for a verdict.",
  audit: "No image of the audit sample waits for a verdict.",
  all: "No image waits for a verdict.",
};

export function loading() {
  return [h("div", { class: "skeleton waiting-picture" }), h("p", { class: "visually-hidden" }, "Loading images")];
}

// `onBring` is offered where the reviewer skipped images that still wait.
export function empty({ kind, skipped, withOthers, onBring, onLook }) {
  return state(
    EMPTY[kind],
    [
      "Images appear here when the gate discards some, and now and then one that it accepted.",
      withOthers ? `${withOthers} more are being looked at by others.` : "",
      skipped ? `You skipped ${skipped}.` : "",
    ],
    skipped ? button(`Show the ${skipped} again`, onBring) : null,
    button("Look again", onLook),
  );
}

export function failed(error, onRetry) {
  if (error.status === 404) {
    return state("Records are off.", [
      "Without them there is nothing to review. Set LENSGATE_RECORDS_URL to a database, such as sqlite:///lensgate.db, and restart the service.",
    ]);
  }
  if (error.status === 403) {
    return state("You may not review.", [`${error.message}. Ask for a token with the scope “review”.`]);
  }
  const why = error.status ? error.message : "The service cannot be reached.";
  return state("No images can be had at present.", [why, "It is tried again by itself."], button("Try now", onRetry));
}

// `onName(name)` where a name is given that the service takes.
export function askName(onName) {
  const input = h("input", {
    id: "name",
    class: "input",
    name: "name",
    maxlength: 64,
    autocomplete: "nickname",
    required: true,
    "aria-describedby": "name-note",
  });
  const submit = (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (name) onName(name);
    else input.setAttribute("aria-invalid", "true");
  };
  return [
    h(
      "form",
      { class: "state stack", onsubmit: submit },
      h("h2", {}, "Who judges?"),
      h("div", { class: "field" }, h("label", { for: "name" }, "Your name"), input),
      h("p", { id: "name-note", class: "soft small" }, "It is kept with each of your verdicts. Two people of one name are shown the same images."),
      h("button", { class: "button button--primary" }, "Begin"),
    ),
  ];
}

function state(title, texts, ...buttons) {
  const lines = texts.filter(Boolean).map((text) => h("p", { class: "soft" }, text));
  return [h("div", { class: "state stack" }, h("h2", {}, title), lines, h("div", { class: "row" }, buttons))];
}

function button(text, onclick) {
  return h("button", { type: "button", class: "button", onclick }, text);
}
