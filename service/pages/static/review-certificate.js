// The section that certifies the band again from the verdicts, on demand and for one source if named.

import { api, detailOf } from "./api.js";
import { byId, h } from "./dom.js";
import { count, counted, edge, edges, exactPercent, percent, words } from "./format.js";

// The largest number of further labels that the service estimates.
const MAX_LABELS = 20_000;

/** @import { ClassRecertificate, Recertificate } from "../types" */

const LONGEST_MS = 300_000; // It reads all verdicts, after others who wait for the same.

let turn = 0;

export function showCertificates() {
  const form = /** @type {HTMLFormElement} */ (byId("certificate-form"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    load(String(new FormData(form).get("source")).trim());
  });
}

/** @param {string} source */
async function load(source) {
  turn += 1;
  const mine = turn;
  const place = byId("certificate-body");
  place.setAttribute("aria-busy", "true");
  place.replaceChildren(h("p", { class: "soft small" }, "Computing …"));
  const parts = await certify(source);
  // A late response must not replace that of a later request.
  if (mine !== turn) return;
  place.replaceChildren(...parts);
  place.setAttribute("aria-busy", "false");
}

/** @param {string} source */
async function certify(source) {
  try {
    /** @type {Recertificate} */
    const found = await api(`/v1/review/certificate${source ? `?source=${encodeURIComponent(source)}` : ""}`, {
      signal: AbortSignal.timeout(LONGEST_MS),
    });
    return describe(found);
  } catch (error) {
    const text = detailOf(error, "The service does not respond. Try again in a moment.");
    return [h("p", { class: "notice notice--warn small" }, text)];
  }
}

/** @param {Recertificate} found */
function describe(found) {
  const { version, source, confidence, band, classes } = found;
  const rows = Object.entries(classes).map(([label, one]) =>
    h("div", {}, h("dt", {}, words(label)), h("dd", {}, outcome(label, one))),
  );
  const about = `version ${version}${source === null ? "" : `, source ${source}`}, confidence ${confidence} each`;
  return [
    h("p", { class: "soft small" }, about),
    h("dl", { class: "fact-list" }, ...rows),
    h("p", {}, `Band: ${edges(band)}`),
    h("p", { class: "soft small" }, use(found)),
  ];
}

/**
 * How the band comes into force.
 *
 * @param {Recertificate} found
 */
function use({ source, classes }) {
  if (source !== null) return "Not in force: a band holds for all images, not for a single source.";
  if (!Object.values(classes).some((one) => one.certified)) return "Not in force: no label is certified.";
  return "Not in force: “lensgate certify --export” writes a version of the model with it, to be promoted.";
}

/**
 * @param {string} label
 * @param {ClassRecertificate} one
 */
function outcome(label, one) {
  const where = `${label === "glasses" ? "above" : "below"} ${edge(one.edge)}`;
  const seen = `${count(one.errors)} of ${count(one.images)} wrong ${where}`;
  if (one.certified) return `at most ${exactPercent(one.target_risk)} wrong: ${seen}, keeps ${percent(one.kept, 1)}`;
  if (one.labels_needed === null) {
    const most = count(MAX_LABELS);
    return `not certified: ${seen}, ${one.errors ? `too many errors for ${most} more labels` : `more than ${most} more labels needed`}`;
  }
  return `not certified: ${seen}, about ${counted(one.labels_needed, "more label")} needed`;
}
