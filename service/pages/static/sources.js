// The sources of images: how many images of each were accepted, and which source differs from the others.

import { api, statusOf } from "./api.js";
import { byId, h, say } from "./dom.js";
import { count, counted, isolated, percent, words } from "./format.js";

/** @import { Share, SourceDifference, SourceOutcomes, SourceReport } from "../types" */

const PATH = "/v1/sources?newest=400";
// Comparing reads up to 100,000 decisions.
const INTERVAL = 60_000;
const TIMEOUT = 30_000;

/** Show the sources in `#sources-card`, which stays hidden while no image names its source. */
export function watchSources() {
  let isLoading = false;
  const load = async () => {
    if (isLoading || document.hidden) return;
    isLoading = true;
    try {
      show(await api(PATH, { signal: AbortSignal.timeout(TIMEOUT) }));
    } catch (error) {
      fail(error);
    }
    isLoading = false;
  };
  document.addEventListener("visibilitychange", load);
  setInterval(load, INTERVAL);
  load();
}

/** @param {SourceReport} report */
function show(report) {
  byId("sources-card").hidden = !report.sources.some(({ source }) => source !== null);
  byId("sources").replaceChildren(...report.sources.map(row));
  const broken = report.sources.filter((source) => source.is_broken).map((source) => isolated(name(source)));
  const state = broken.length ? `Worse than the others: ${broken.join(", ")}.` : "None is worse than the others.";
  const more = report.source_count - report.sources.length;
  const rest = more ? ` ${counted(more, "source")} with fewer images ${more === 1 ? "is" : "are"} not shown.` : "";
  say(byId("sources-note"), `${state} The newest 400 images of each in the last day; 95 % intervals.${rest}`);
}

/** @param {unknown} error */
function fail(error) {
  // Without records, or without permission, no source is known; the page shows both elsewhere.
  if ([403, 404].includes(statusOf(error))) byId("sources-card").hidden = true;
  else say(byId("sources-note"), "The sources cannot be compared now; these are the latest figures.");
}

/** @param {SourceOutcomes} outcomes */
function row(outcomes) {
  const shares = [outcomes.accepted, outcomes.uncertain, outcomes.contradicted, outcomes.unfamiliar];
  return h(
    "tr",
    {},
    h("th", { scope: "row", class: "source" }, link(outcomes)),
    h("td", { class: "number" }, count(outcomes.images)),
    shares.map((share) => h("td", { class: "number" }, percent(share.ratio), interval(share))),
    h("td", {}, verdict(outcomes)),
  );
}

/** @param {SourceOutcomes} outcomes */
function link(outcomes) {
  if (outcomes.source === null) return name(outcomes);
  const query = new URLSearchParams({ source: outcomes.source, decision: "discard" });
  return h("a", { href: `/decisions?${query}` }, outcomes.source);
}

/** @param {SourceOutcomes} outcomes */
function name({ source }) {
  return source ?? "no source";
}

/** @param {Share} share */
function interval({ lower, upper }) {
  return h("span", { class: "interval soft small" }, `${percent(lower)} to ${percent(upper)}`);
}

/** @param {SourceOutcomes} outcomes */
function verdict({ is_broken, is_compared, differences }) {
  if (!is_compared) return h("span", { class: "soft" }, "too few to compare");
  if (!differences.length) return h("span", {}, "as the others");
  return h("ul", { class: is_broken ? "differences differences--broken" : "differences" }, differences.map(difference));
}

/** @param {SourceDifference} difference */
function difference({ expected, reason, ratio, others_ratio }) {
  const asked = expected ? `, ${words(expected)} expected` : "";
  return h(
    "li",
    {},
    `${reason ? words(reason) : "discarded"} ${percent(ratio)}, others ${percent(others_ratio)}${asked}`,
  );
}
