// The side bar: progress of the review and result of the audit.

import { byId, h, say, svg } from "./dom.js";
import { count, percent } from "./format.js";

/** @import { Audit, Progress, VerdictCounts } from "../types" */

/** @param {Progress} progress */
export function showProgress({ waiting, verdicts, mine }) {
  fill("mine-count", count(total(mine)));
  fill("waiting-discarded", count(waiting.discarded));
  fill("waiting-audit", count(waiting.audit));
  const counts = `glasses ${count(verdicts.glasses)}, no glasses ${count(verdicts.no_glasses)}, unclear ${count(verdicts.unclear)}`;
  say(byId("split"), `All reviewers: ${counts}.`);
}

/** @param {Audit} audit */
export function showAudit(audit) {
  say(byId("audit-version"), `version ${audit.version}, 95 %`);
  byId("audit-body").replaceChildren(
    ...(audit.images ? estimate(audit) : [h("p", { class: "soft" }, "The audit sample has no verdicts yet.")]),
    h("p", { class: "soft small" }, certificate(audit)),
    ...bias(audit),
  );
}

/** @param {Audit} audit */
function estimate(audit) {
  const { error_ratio: ratio, error_lower: lower, error_upper: upper, certified_risk: certified } = audit;
  if (ratio === null || lower === null || upper === null) return [];
  const [kind, text] = outcome(lower, upper, certified);
  return [
    h(
      "p",
      { class: "audit-value" },
      percent(ratio, 2),
      h("span", { class: "soft small" }, ` ${count(audit.errors)} of ${count(audit.images)} labelled wrongly`),
    ),
    interval(ratio, lower, upper, certified),
    h("p", { class: "small" }, `between ${percent(lower, 2)} and ${percent(upper, 2)}`),
    h("p", {}, h("span", { class: `badge badge--${kind}` }, text)),
  ];
}

/**
 * @param {number} lower
 * @param {number} upper
 * @param {number | null} certified
 */
function outcome(lower, upper, certified) {
  if (certified === null) return ["info", "not certified"];
  if (lower > certified) return ["bad", "above the certified risk"];
  return upper <= certified ? ["good", "within the certified risk"] : ["info", "too few verdicts to tell"];
}

/** @param {Audit} audit */
function certificate({ certified_risk: certified }) {
  if (certified === null) return "The band in use is not certified, so there is no certified risk to compare with.";
  return `The model's card certifies an error of at most ${percent(certified, 2)}.`;
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
  if (open === 0) return [];
  const parts = [
    audit.waiting &&
      `${count(audit.waiting)} without a verdict${audit.lost ? ` (${count(audit.lost)} of them without a preview)` : ""}`,
    audit.unclear && `${count(audit.unclear)} unclear`,
  ].filter(Boolean);
  const range = `${percent(audit.least_possible, 1)} and ${percent(audit.most_possible, 1)}`;
  const text = `Of ${count(audit.drawn)} images in the sample, ${parts.join(" and ")}. The estimate is biased if they differ from the others; with them, the error of the sample is between ${range}.`;
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
