// The tiles with the key figures, the latency of each stage, and the load.

import { byId, h, say, svg } from "./dom.js";
import {
  bytes,
  clock,
  count,
  counted,
  edges,
  exactPercent,
  milliseconds,
  moment,
  percent,
  rate,
  UNKNOWN,
  upper,
} from "./format.js";
import { exceedsLimit, recent, throughput, totals } from "./series.js";

/** @import { Band, Drift, Operations, Records, Shadow, Span, Stage } from "../types" */
/** @import { Child } from "./dom.js" */

const STAGES = {
  decode: ["Decode", "Decode and downscale one image"],
  queue: ["Queue", "Wait of one image for a decode thread and for the model"],
  inference: ["Inference", "One model run, on one image or a batch"],
  request: ["Whole request", "From the request line to the last byte of the response; requests with one image"],
};
/** @type {Record<string, string>} */
const PROVIDERS = { CPUExecutionProvider: "CPU", CUDAExecutionProvider: "CUDA" };
const DAY = 86_400;

/** @param {Operations} snapshot */
export function showTiles(snapshot) {
  const { load, latency, drift, model, decisions, history, time } = snapshot;
  const request = latency.stages.find((stage) => stage.stage === "request");
  tile("throughput", rate(throughput(history)), `images/s; ${count(decisions)} since start`);
  const median = request?.count ? `median ${milliseconds(request.p50)}` : "no requests in the last minute";
  tile("latency", milliseconds(request?.p95), median);
  const inflight = `${count(load.inflight_images)} of ${count(load.max_inflight_images)} in flight`;
  tile("queue", count(load.queued_images), inflight);
  tile("drift", drift.psi === null ? UNKNOWN : drift.psi.toFixed(3), driftNote(drift));
  byId("drift").classList.toggle("is-above", exceedsLimit(drift));
  const since = time - model.since < DAY ? clock(model.since * 1000) : moment(model.since * 1000);
  byId("model").title = `${model.name} ${model.version}`;
  tile("model", `${model.name} ${model.version}`, `${PROVIDERS[model.provider] ?? model.provider}, since ${since}`);
}

/**
 * The reject rate of the window that the chart shows, so that both cover the same images.
 *
 * @param {Span} span
 */
export function showRejectRate(span) {
  const { images, discarded } = totals(span);
  const origin = span.isRecorded ? "" : ", not recorded";
  tile("reject", percent(images ? discarded / images : null), `of ${count(images)}, last ${span.name}${origin}`);
}

/** @param {Stage[]} stages */
export function showStages(stages) {
  const longest = Math.max(...stages.map((stage) => stage.p99 ?? 0), 1);
  byId("stages").replaceChildren(...stages.map((stage) => stageRow(stage, longest)));
}

/** @param {Operations} snapshot */
export function showLoad({ load, history, records, model, shadow }) {
  /** @type {[string, Child][]} */
  const facts = [
    ["Bytes in flight", `${bytes(load.inflight_bytes)} of ${bytes(load.max_inflight_bytes)}`],
    ["Batch uploads", count(load.batch_uploads)],
    ["Shed, last minute", count(recent(history, "shed", 60))],
    ["Invalid images, last minute", count(recent(history, "errors", 60))],
    ["Records", recordsFact(records)],
    ["Model file", h("span", { class: "mono", title: model.sha256 }, model.sha256.slice(0, 12))],
    ["Shadow", shadow ? shadowFact(shadow) : "none"],
    ["Band", bandFact(model.band)],
  ];
  byId("load").replaceChildren(...facts.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact))));
}

/**
 * @param {string} id
 * @param {string} value
 * @param {string} note
 */
function tile(id, value, note) {
  byId(id).classList.remove("skeleton");
  say(byId(id), value);
  say(byId(`${id}-note`), note);
}

/** @param {Drift} drift */
function driftNote(drift) {
  if (drift.psi === null) return "needs 200 scores";
  return drift.limit === null
    ? "PSI"
    : `${exceedsLimit(drift) ? "above" : "within"} the limit ${drift.limit.toFixed(3)}`;
}

/**
 * @param {Stage} stage
 * @param {number} longest
 */
function stageRow(stage, longest) {
  const [name, text] = STAGES[stage.stage];
  const numbers = [stage.p50, stage.p95, stage.p99].map((value) => h("td", { class: "number" }, milliseconds(value)));
  return h("tr", {}, h("th", { scope: "row" }, h("abbr", { title: text }, name), spread(stage, longest)), numbers);
}

/**
 * A line from the median to p99 with a dot at p95, on a logarithmic axis that starts at 0.1 ms.
 *
 * @param {Stage} stage
 * @param {number} longest
 */
function spread({ p50, p95, p99 }, longest) {
  if (p50 === null || p95 === null || p99 === null) return null;
  /** @param {number} value */
  const at = (value) => 4 + (Math.log10(Math.max(value, 0.1) * 10) / Math.log10(Math.max(longest, 1) * 10)) * 132;
  return svg(
    "svg",
    { class: "spread", width: 140, height: 10, viewBox: "0 0 140 10", "aria-hidden": "true" },
    svg("line", { x1: at(p50), x2: at(p99), y1: 5, y2: 5 }),
    svg("circle", { cx: at(p95), cy: 5, r: 3.5 }),
  );
}

/** @param {Records} records */
function recordsFact({ state, queued, written }) {
  if (state === "off") return "off";
  return state === "failing"
    ? `failing, ${count(queued)} queued`
    : `${count(written)} written, ${count(queued)} queued`;
}

/** @param {Band} band */
function bandFact(band) {
  const range = edges(band);
  if (band.chosen_by === "operator") return `${range}, set by the operator`;
  if (band.chosen_by === "paper") return `${range}, from the paper`;
  return h("span", {}, `${range}, `, band.classes ? classFacts(band, band.classes) : wholeFact(band));
}

/**
 * The promise of an older card, about all accepted images together.
 *
 * @param {Band} band
 */
function wholeFact({ target_risk: risk, confidence }) {
  const sure = `with confidence ${confidence}`;
  const promise = `At most ${exactPercent(risk)} of the accepted images are labelled wrongly, ${sure}`;
  return h("abbr", { title: promise }, "certified");
}

/**
 * @param {Band} band
 * @param {NonNullable<Band["classes"]>} classes
 */
function classFacts({ confidence, folds }, classes) {
  const networks = folds && folds > 1 ? `, cross-fitted with ${folds} networks` : "";
  return Object.entries(classes).map(([label, one], index) => {
    const bound = `at most ${upper(one.bound)} wrong by ${counted(one.accepted, "accepted calibration image")}`;
    const promise = `Of the images accepted as ${label} at most ${exactPercent(one.target_risk)} are labelled wrongly, with confidence ${confidence}${networks}`;
    const needed = one.images_needed
      ? `; certifying it takes about ${counted(one.images_needed, "more labelled face")}`
      : "";
    const title = one.certified ? `${promise}; ${bound}` : `${label} has no promise: ${bound}${needed}`;
    return h(
      "span",
      {},
      index ? ", " : "",
      h("abbr", { title }, `${label} ${one.certified ? "certified" : "not certified"}`),
    );
  });
}

/** @param {Shadow} shadow */
function shadowFact({ version, scored, decision_disagreements: different }) {
  return `version ${version}, ${percent(scored ? different / scored : null)} different decisions`;
}
