// The filters of decisions: form fields on one side, the query of the page and of the API on the other.

import { h } from "./dom.js";

/** @typedef {{ name: string, label: string, kind: "text" | "time" | "number" | "choice", choices?: string[], more?: boolean }} Field */

/** @type {Field[]} */
export const FIELDS = [
  { name: "id", label: "Id", kind: "text" },
  { name: "source", label: "Source", kind: "text" },
  { name: "decision", label: "Decision", kind: "choice", choices: ["accept", "discard"] },
  {
    name: "reason",
    label: "Reason",
    kind: "choice",
    choices: ["unfamiliar", "uncertain", "contradicted", "confident"],
  },
  { name: "expected", label: "Expected", kind: "choice", choices: ["glasses", "no_glasses"] },
  { name: "version", label: "Version", kind: "text" },
  { name: "since", label: "From", kind: "time" },
  { name: "until", label: "Before", kind: "time" },
  { name: "min_probability", label: "Probability from", kind: "number" },
  { name: "max_probability", label: "Probability to", kind: "number" },
  { name: "label", label: "Label", kind: "choice", choices: ["glasses", "no_glasses"], more: true },
  { name: "verdict", label: "Verdict", kind: "choice", choices: ["glasses", "no_glasses", "unclear"], more: true },
  { name: "audit", label: "Audit sample", kind: "choice", choices: ["true", "false"], more: true },
  { name: "sha256", label: "SHA-256", kind: "text", more: true },
];

const ZONE = /(z|[+-]\d\d:?\d\d)$/i;

/** @type {Record<string, string>} */
const WORDS = { no_glasses: "no glasses", true: "in the sample", false: "not in it" };

/**
 * The filters that a query string names; other names are left out.
 *
 * @param {string} search
 * @param {Field[]} fields
 */
export function readQuery(search, fields) {
  const given = new URLSearchParams(search);
  const found = new URLSearchParams();
  for (const { name } of fields) {
    const value = given.get(name);
    if (value) found.set(name, value);
  }
  return found;
}

/**
 * Controls for the fields, filled from the query.
 *
 * @param {Field[]} fields
 * @param {URLSearchParams} query
 */
export function makeControls(fields, query) {
  return fields.map((field) =>
    h(
      "div",
      { class: `field field--${field.kind}` },
      h("label", { for: `filter-${field.name}` }, field.label),
      control(field, query.get(field.name) ?? ""),
    ),
  );
}

/**
 * The filters that a form holds.
 *
 * @param {HTMLFormElement} form
 * @param {Field[]} fields
 */
export function readForm(form, fields) {
  const found = new URLSearchParams();
  for (const { name, kind } of fields) {
    const control = form.elements.namedItem(name);
    if (!(control instanceof HTMLInputElement || control instanceof HTMLSelectElement)) continue;
    const value = kind === "text" ? control.value : control.value.trim();
    if (value) found.set(name, kind === "time" ? timeOf(value, control.dataset.utc ?? "") : value);
  }
  return found;
}

/**
 * @param {Field} field
 * @param {string} value
 */
function control({ name, kind, choices = [] }, value) {
  // After Back, the browser would fill in what was chosen here and is not applied.
  const common = { id: `filter-${name}`, name, autocomplete: "off" };
  if (kind === "choice") {
    // A value that is not a choice stays visible, so that the refusal of the service is understood.
    const shown = value && !choices.includes(value) ? [...choices, value] : choices;
    const options = shown.map((choice) =>
      h("option", { value: choice, selected: choice === value }, WORDS[choice] ?? choice),
    );
    return h("select", { ...common, class: "select" }, h("option", { value: "" }, "any"), options);
  }
  const types = { text: "text", number: "number", time: "datetime-local" };
  const limits =
    kind === "number" ? { min: 0, max: 1, step: "any" } : kind === "time" ? { step: 1 } : { maxlength: 160 };
  const shown = kind === "time" ? toLocal(value) : kind === "number" ? toNumber(value) : value;
  return h("input", {
    ...common,
    ...limits,
    class: "input",
    // What the field of its kind cannot show is shown as text: from an empty field the next Apply would drop it.
    type: value && !shown ? "text" : types[kind],
    value: shown || value,
    "data-utc": kind === "time" ? value : null,
    spellcheck: "false",
  });
}

/**
 * The time of a field: as it was given unless it was edited, because a local time lacks fractions of a second, and is
 * there twice when the clock is set back.
 *
 * @param {string} local
 * @param {string} given
 */
function timeOf(local, given) {
  return toUtc(local) === toUtc(toLocal(given)) ? given : toUtc(local);
}

/**
 * The time of a `datetime-local` field in UTC, as the API takes it.
 *
 * @param {string} local
 */
function toUtc(local) {
  const time = new Date(local);
  return Number.isNaN(time.getTime()) ? local : time.toISOString().replace(".000Z", "Z");
}

/**
 * A number as a field shows it, which refuses "+0.5" and "1."; "" for another text.
 *
 * @param {string} text
 */
function toNumber(text) {
  return text.trim() && Number.isFinite(Number(text)) ? String(Number(text)) : "";
}

/** @param {string} utc */
function toLocal(utc) {
  // Without a zone it is UTC for the API, and local time for the browser.
  const time = new Date(utc.includes(":") && !ZONE.test(utc) ? `${utc}Z` : utc);
  if (!utc || Number.isNaN(time.getTime())) return "";
  const shifted = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 19);
}
