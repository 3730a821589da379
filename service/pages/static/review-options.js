// The options of the review page: a form whose values the browser keeps.

import { byId } from "./dom.js";
import { kindInAddress } from "./review-filters.js";
import { recall, store } from "./storage.js";

const KEY = "lensgate.review";
const form = byId("options", HTMLFormElement);

/** @param {string} name */
export function option(name) {
  return String(new FormData(form).get(name));
}

/**
 * @param {string} name
 * @param {unknown} value
 */
export function setOption(name, value) {
  const control = form.elements.namedItem(name);
  if (control instanceof RadioNodeList || control instanceof HTMLSelectElement) control.value = String(value);
}

/**
 * Keep the options after each change; `onChange` receives the name of the one that was changed.
 *
 * @param {(name: string) => void} onChange
 */
export function watchOptions(onChange) {
  form.addEventListener("change", ({ target }) => {
    keepOptions();
    onChange(/** @type {HTMLInputElement} */ (target).name);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

export function keepOptions() {
  store(KEY, JSON.stringify(Object.fromEntries(new FormData(form))));
}

/** Set the options as they were left; a link to this page may name the kind of images. */
export function restoreOptions() {
  try {
    const stored = JSON.parse(recall(KEY) ?? "{}");
    for (const [name, value] of Object.entries(stored)) setOption(name, value);
  } catch {
    // With options that cannot be read the page starts with its defaults.
  }
  const kind = kindInAddress();
  if (kind) setOption("kind", kind);
}
