// Beside the images: how far the review is, and what the audit comes to.

import { byId, h, say, svg } from "./dom.js";
import { count, percent } from "./format.js";

export function showProgress({ waiting, verdicts, mine }) {
  fill("mine-count", count(total(mine)));
  fill("waiting-discarded", count(waiting.discarded));
  fill("waiting-audit", count(waiting.audit));
  const by = `glasses ${count(verdicts.glasses)}, no glasses ${count(verdicts.no_glasses)}, unclear ${count(verdicts.unclear)}`;
  say(byId("split"), `By all: ${by}.`);
}

export function showAudit(audit) {
  say(byId("audit-version"), `version ${audit.version}, 95 %`);
  byId("audit-body").replaceChildren(
    ...(audit.images ? estimate(audit) : [h("p", { class: "soft" }, "No image of the audit sample was judged yet.")]),
    h("p", { class: "soft small" }, promise(audit)),
    ...bias(audit),
  );
}

function estimate(audit) {
  const [kind, text] = outcome(audit);
  return [
    h(
      "p",
      { class: "audit-value" },
      percent(audit.error_ratio, 2),
      h("span", { class: "soft small" }, ` ${count(audit.errors)} of ${count(audit.images)} labelled wrongly`),
    ),
    interval(audit),
    h("p", { class: "small" }, `between ${percent(audit.error_lower, 2)} and ${percent(audit.error_upper, 2)}`),
    h("p", {}, h("span", { class: `badge badge--${kind}` }, text)),
  ];
}

function outcome({ error_lower: lower, error_upper: upper, certified_risk: certified }) {
  if (certified === null) return ["info", "nothing certified"];
  if (lower > certified) return ["bad", "more errors than certified"];
  return upper <= certified ? ["good", "within the certificate"] : ["info", "too few judged to tell"];
}

function promise({ certified_risk: certified }) {
  if (certified === null) return "The band in use is not certified: nothing is promised that could be checked.";
  return `The model's card certifies at most ${percent(certified, 2)}.`;
}

// The interval as a bar, the estimate and the certified risk as lines in it.
function interval({ error_ratio: ratio, error_lower: lower, error_upper: upper, certified_risk: certified }) {
  const most = Math.max(upper, 1.5 * (certified ?? 0), 1e-6);
  const x = (share) => (share / most) * 1000;
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

// The interval says nothing of images that have no clear verdict; these two bounds do.
function bias(audit) {
  const open = audit.drawn - audit.images;
  if (open === 0) return [];
  const parts = [
    audit.waiting && `${count(audit.waiting)} not judged${audit.lost ? ` (${count(audit.lost)} of them without a picture)` : ""}`,
    audit.unclear && `${count(audit.unclear)} unclear`,
  ].filter(Boolean);
  const range = `${percent(audit.least_possible, 1)} to ${percent(audit.most_possible, 1)}`;
  const text = `Of ${count(audit.drawn)} drawn, ${parts.join(" and ")}: the estimate is biased if these are not like the others. Whatever they show, the share in the sample is ${range}.`;
  return [h("p", { class: open > audit.drawn / 20 ? "notice notice--warn small" : "soft small" }, text)];
}

function fill(id, text) {
  const place = byId(id);
  place.classList.remove("skeleton");
  say(place, text);
}

function total({ glasses, no_glasses: none, unclear }) {
  return glasses + none + unclear;
}
