// One decision: the picture, the three checks in their order with the values they compared, and the facts.

import { warnOfPart } from "./address.js";
import { api, detailOf, statusOf } from "./api.js";
import { unknown } from "./decision-unknown.js";
import { byId, h, say } from "./dom.js";
import { edges, milliseconds, moment, probability, UNKNOWN, words } from "./format.js";
import { showSession } from "./header.js";
import { badge, explain } from "./reasons.js";
import { drawScale, drawThreshold } from "./scale.js";

/** @import { DecisionRecord } from "../types" */
/** @import { Child } from "./dom.js" */

/** @typedef {{ title: string, state: "passed" | "failed" | "skipped", text: string, draw?: (place: Element) => void }} Check */

const SIGNS = { passed: ["✓", "passed"], failed: ["✕", "failed"], skipped: ["–", "not applied"] };
/** @type {[keyof DecisionRecord["stages"], string][]} */
const STAGES = [
  ["read", "… of it reading"],
  ["decode", "… decoding"],
  ["queue", "… waiting"],
  ["inference", "… inference"],
];
const PREFIX = "/decisions/";
// The skip link leads to #main.
const REST = location.search + location.hash.replace(/^#main$/, "");
const name = readName();

function readName() {
  const path = location.pathname.slice(PREFIX.length);
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // A lone percent sign is part of the name.
  }
}

async function show() {
  say(byId("title"), name || "Decision");
  try {
    /** @type {DecisionRecord} */
    const record = await api(`/v1/decisions/${encodeURIComponent(name)}`);
    showRecord(record);
  } catch (error) {
    if (statusOf(error) === 404) byId("body").replaceChildren(...(await unknown(name, error)));
    else showFault(error);
  }
  byId("main").setAttribute("aria-busy", "false");
}

/** @param {unknown} error */
function showFault(error) {
  const again = h("button", { type: "button", class: "button button--small", onclick: show }, "Try again");
  const text = `The decision cannot be shown: ${detailOf(error, "the service does not respond")}.`;
  byId("body").replaceChildren(
    h("div", { class: "notice notice--warn row", role: "alert" }, h("span", {}, text), again),
  );
}

/** @param {DecisionRecord} record */
function showRecord(record) {
  document.title = `${record.id} · Lensgate`;
  say(byId("title"), record.id);
  const checks = [familiarity(record), certainty(record), order(record)];
  byId("body").replaceChildren(
    h(
      "div",
      { class: "decision" },
      picture(record),
      h(
        "section",
        { class: "card decision-why", "aria-labelledby": "why" },
        h(
          "h2",
          { id: "why", class: "row" },
          record.decision === "accept" ? "Accepted" : "Discarded",
          badge(record.reason),
        ),
        h("p", {}, explain(record)),
        h("ol", { class: "checks" }, checks.map(checkItem)),
      ),
      h("section", { class: "card decision-facts", "aria-label": "Facts" }, h("dl", { class: "facts" }, facts(record))),
    ),
  );
  for (const [index, { draw }] of checks.entries()) {
    const place = byId("body").querySelectorAll(".check")[index].querySelector(".scale");
    if (draw && place) keepDrawn(place, draw);
  }
}

/**
 * Draw now and at every change of width.
 *
 * @param {Element} place
 * @param {(place: Element) => void} draw
 */
function keepDrawn(place, draw) {
  new ResizeObserver(() => draw(place)).observe(place);
}

/**
 * @param {Check} check
 * @param {number} index
 */
function checkItem({ title, state, text, draw }, index) {
  const [sign, word] = SIGNS[state];
  return h(
    "li",
    { class: `check check--${state}`, "data-check": index },
    h(
      "h3",
      {},
      h("span", { class: "check-sign", "aria-hidden": "true" }, sign),
      title,
      h("span", { class: "soft small" }, word),
    ),
    h("p", { class: "small" }, text),
    draw ? h("div", { class: "chart scale" }) : null,
  );
}

/**
 * @param {DecisionRecord} record
 * @returns {Check}
 */
function familiarity({ novelty, reason, novelty_threshold: threshold }) {
  const title = "Is the image like the training images?";
  if (novelty === null) return { title, state: "skipped", text: "The model reports no novelty." };
  const value = novelty.toFixed(2);
  const isFailed = reason === "unfamiliar";
  const state = isFailed ? "failed" : "passed";
  if (threshold === null) {
    return { title, state: isFailed ? "failed" : "skipped", text: `Novelty ${value}; the record has no threshold.` };
  }
  const text = `Novelty ${value}, ${isFailed ? "above" : "not above"} the threshold ${threshold.toFixed(2)}.`;
  return { title, state, text, draw: (place) => drawThreshold(place, novelty, threshold) };
}

/**
 * @param {DecisionRecord} record
 * @returns {Check}
 */
function certainty({ reason, glasses_probability: value, band }) {
  const isInside = band.low <= value && value <= band.high;
  const text = `Probability of glasses ${probability(value, band)}, ${isInside ? "inside" : "outside"} the band ${edges(band)}.`;
  const state = reason === "unfamiliar" ? "skipped" : isInside ? "failed" : "passed";
  const title = "Is the probability outside the uncertainty band?";
  return { title, state, text, draw: (place) => drawScale(place, value, band) };
}

/**
 * @param {DecisionRecord} record
 * @returns {Check}
 */
function order({ reason, expected, label }) {
  const title = "Is the label the expected one?";
  if (!expected)
    return { title, state: "skipped", text: `The label is ${words(label)}; the request named no expected label.` };
  const text = `The label is ${words(label)}, expected ${words(expected)}.`;
  if (reason === "unfamiliar" || reason === "uncertain") return { title, state: "skipped", text };
  return { title, state: reason === "contradicted" ? "failed" : "passed", text };
}

/** @param {DecisionRecord} record */
function picture({ image, id, decision }) {
  if (!image) {
    const text = `No picture: ${decision === "accept" ? "of accepted images only the audit sample keeps one" : "it was deleted, or is not written yet"}.`;
    return h("figure", { class: "card decision-picture" }, h("p", { class: "picture-none soft" }, text));
  }
  return h(
    "figure",
    { class: "card decision-picture" },
    h("a", { href: image }, h("img", { src: image, alt: `Preview of the image ${id}`, width: 256, height: 256 })),
    h("figcaption", { class: "soft small" }, "Preview, at most 256 pixels wide"),
  );
}

/** @param {DecisionRecord} record */
function facts(record) {
  const { model, sha256, source, stages } = record;
  /** @type {[string, Child][]} */
  const found = [
    ["Time", moment(record.time)],
    ["Model", listLink(`${model.name} ${model.version}`, { version: model.version })],
    ["Source", source ? listLink(source, { source }) : "not given"],
    ["Review", review(record)],
    ["Latency", milliseconds(record.latency_ms)],
    ...STAGES.map(([name, text]) => /** @type {[string, Child]} */ ([text, milliseconds(stages[name])])),
    ["Audit sample", record.audit ? "yes" : "no"],
    ["SHA-256", sha256 ? listLink(sha256, { sha256 }, "mono") : UNKNOWN],
    ["Id", listLink(record.id, { id: record.id }, "mono")],
    ["Record", h("a", { class: "mono", href: `/decisions/${record.record}` }, record.record)],
  ];
  return found.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact)));
}

/** @param {DecisionRecord} record */
function review({ id, verdict, image, label }) {
  if (verdict) {
    const isWrong = verdict !== "unclear" && verdict !== label;
    return `${words(verdict)}${isWrong ? ", unlike the model" : ""}`;
  }
  return image ? h("a", { href: `/review?${new URLSearchParams({ kind: "all", id })}` }, "give a verdict") : "none";
}

/**
 * A link to all decisions that share a value.
 *
 * @param {string} text
 * @param {Record<string, string>} query
 * @param {string} [kind]
 */
function listLink(text, query, kind) {
  return h("a", { class: kind, href: `/decisions?${new URLSearchParams(query)}` }, text);
}

warnOfPart(REST, "in an id, write ? as %3F and # as %23");
show();
showSession().catch(() => {}); // `show` reports the same problem.
