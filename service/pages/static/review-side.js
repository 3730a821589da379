// The side bar: progress of the review and result of the audit.

import { byId, h, say, svg } from "./dom.js";
import { count, counted, exactPercent, percent, upper, words } from "./format.js";

/** @import { Agreement, Audit, Progress, RiskEstimate, ShadowComparison, VerdictCounts } from "../types" */

// Evidence reaches 20 in at most 5 % of runs, at any time, while the opposite is true; 100 in at most 1 %.
const TICKET = 20;
const PAGE = 100;

/** @param {Progress} progress */
export function showProgress({ waiting, verdicts, mine, agreement, shadows }) {
  fill("mine-count", count(total(mine)));
  fill("waiting-discarded", count(waiting.discarded));
  fill("waiting-audit", count(waiting.audit));
  fill("waiting-second", count(waiting.second));
  const counts = `glasses ${count(verdicts.glasses)}, no glasses ${count(verdicts.no_glasses)}, unclear ${count(verdicts.unclear)}`;
  say(byId("split"), `All reviewers: ${counts}.`);
  say(byId("agreement"), [agreed(agreement), ...shadows.map(compared)].join(" "));
}

/** @param {ShadowComparison} shadow */
function compared({ version, differences, judged, served_right: served, shadow_right: shadow }) {
  const verdicts = judged ? `${count(shadow)} right, and the served version ${count(served)}` : "none judged";
  return `Shadow ${version} differs on ${counted(differences, "drawn image")}; ${verdicts}.`;
}

/** @param {Agreement} agreement */
function agreed({ images, differ, kappa, kappa_lower: lower, kappa_upper: upper }) {
  if (!images) return "No audit image has a second verdict yet.";
  const pairs = `${count(differ)} of ${counted(images, "second verdict")} ${images === 1 ? "differs" : "differ"}`;
  if (kappa === null || lower === null || upper === null) return `${pairs}.`;
  return `${pairs}; kappa ${kappa.toFixed(2)} (${lower.toFixed(2)} to ${upper.toFixed(2)}).`;
}

/** @param {Audit} audit */
export function showAudit(audit) {
  say(byId("audit-version"), `version ${audit.version}, 95 %`);
  byId("audit-body").replaceChildren(
    ...(audit.images ? estimate(audit) : [h("p", { class: "soft" }, "The audit sample has no verdicts yet.")]),
    h("p", { class: "soft small" }, certificate(audit)),
    ...promises(audit),
    ...bias(audit),
  );
}

/** @param {Audit} audit */
function estimate(audit) {
  const { error_ratio: ratio, error_lower: lower, error_upper: highest, certified_risk: certified } = audit;
  if (ratio === null || lower === null || highest === null) return [];
  return [
    h(
      "p",
      { class: "audit-value" },
      percent(ratio, 2),
      h("span", { class: "soft small" }, ` ${count(audit.errors)} of ${count(audit.images)} labelled wrongly`),
    ),
    interval(ratio, lower, highest, certified),
    h("p", { class: "small" }, `between ${percent(lower, 2)} and ${upper(highest)}, if looked at once`),
    h("p", {}, badge(audit)),
  ];
}

/**
 * The promise of each class with the evidence about it, if the card certifies any.
 *
 * @param {Audit} audit
 */
function promises({ classes, broken_promise: broken }) {
  if (broken === null) return [];
  const rows = Object.entries(classes).map(([label, one]) =>
    h("div", {}, h("dt", {}, `accepted as ${words(label)}`), h("dd", {}, badge(one))),
  );
  return [
    h("dl", { class: "counts" }, ...rows),
    h(
      "p",
      { class: "soft small" },
      `Evidence that the card's promises are broken: ${evidence(broken)}. 1 is none; ${TICKET} raises an alert, which happens in at most 5 % of runs while all promises hold, however often you look.`,
    ),
  ];
}

/** @param {RiskEstimate} one */
function badge(one) {
  const [kind, text] = outcome(one);
  return h("span", { class: `badge badge--${kind}` }, text);
}

/** @param {RiskEstimate} one */
function outcome({ certified_risk: certified, evidence_above: above, evidence_below: below }) {
  if (certified === null || above === null || below === null) return ["info", "not certified"];
  if (above >= TICKET) return ["bad", `above the certified risk (evidence ${evidence(above)})`];
  if (below >= TICKET) return ["good", `within the certified risk (evidence ${evidence(below)})`];
  return ["info", "not decided yet"];
}

/** @param {number} value */
function evidence(value) {
  if (value > PAGE) return `over ${PAGE}`;
  return value < 10 ? value.toPrecision(2) : String(Math.floor(value));
}

/** @param {Audit} audit */
function certificate({ certified_risk: certified }) {
  if (certified === null) return "The band in use is not certified, so there is no certified risk to compare with.";
  return `The model's card certifies an error of at most ${exactPercent(certified)}.`;
}

/**
 * The interval as a bar, with the estimate and the certified risk as lines.
 *
 * @param {number} ratio
 * @param {number} lower
 * @param {number} upper
 * @param {number | null} certified
 */
function interval(ratio, lower, upper, certified) {
  const end = Math.max(upper, 1.5 * (certified ?? 0), 1e-6);
  /** @param {number} share */
  const x = (share) => (share / end) * 1000;
  /**
   * @param {number} share
   * @param {string} kind
   */
  const line = (share, kind) => svg("rect", { class: kind, x: Math.min(994, x(share)), y: 0, width: 6, height: 26 });
  return svg(
    "svg",
    { viewBox: "0 0 1000 26", preserveAspectRatio: "none", class: "scale-picture", "aria-hidden": "true" },
    svg("rect", { class: "scale-track", x: 0, y: 8, width: 1000, height: 10 }),
    svg("rect", { class: "audit-interval", x: x(lower), y: 8, width: x(upper) - x(lower), height: 10 }),
    line(ratio, "scale-pointer"),
    certified === null ? null : line(certified, "audit-certified"),
  );
}

/**
 * The interval ignores images without a clear verdict; this note bounds their effect.
 *
 * @param {Audit} audit
 */
function bias(audit) {
  const open = audit.drawn - audit.images;
  if (open === 0 || audit.images === 0) return [];
  const parts = [
    audit.waiting &&
      `${count(audit.waiting)} without a verdict${audit.lost ? ` (${count(audit.lost)} of them without a preview)` : ""}`,
    audit.unclear && `${count(audit.unclear)} unclear`,
  ].filter(Boolean);
  const range = `${percent(audit.least_possible, 1)} and ${percent(audit.most_possible, 1)}`;
  const text = `Of ${counted(audit.drawn, "image")} in the sample, ${parts.join(" and ")}. The estimate is biased if they differ from the others; with them, the error of the sample is between ${range}.`;
  return [h("p", { class: open > audit.drawn / 20 ? "notice notice--warn small" : "soft small" }, text)];
}

/**
 * @param {string} id
 * @param {string} text
 */
function fill(id, text) {
  const place = byId(id);
  place.classList.remove("skeleton");
  say(place, text);
}

/** @param {VerdictCounts} counts */
function total({ glasses, no_glasses: none, unclear }) {
  return glasses + none + unclear;
}
