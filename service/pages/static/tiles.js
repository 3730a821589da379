// The numbers at a glance, the stages' latencies, and what is in the house.

import { byId, h, say, svg } from "./dom.js";
import { UNKNOWN, bytes, clock, count, milliseconds, moment, percent, probability, rate } from "./format.js";
import { isAbove, recent, throughput } from "./series.js";

const STAGES = {
  decode: ["Decode", "Decoding and shrinking one image"],
  queue: ["Queue", "One image's wait for a decode thread and for the model"],
  inference: ["Inference", "One run of the model, on one image or a batch"],
  request: ["Whole request", "From a request's first line to its answer's last byte, requests with one image"],
};
const PROVIDERS = { CPUExecutionProvider: "CPU", CUDAExecutionProvider: "CUDA" };
const DAY = 86_400;

export function showTiles(snapshot) {
  const { load, latency, drift, model, decisions, history, scores, time } = snapshot;
  const request = latency.stages.find((stage) => stage.stage === "request");
  // Both look back no further than to when this version was first served.
  const images = scores.total ? `of the last ${count(Math.min(1000, scores.total))} images` : "no image yet";
  tile("reject", percent(snapshot.reject_ratio), images);
  tile("throughput", rate(throughput(history)), `images/s; ${count(decisions)} since the start`);
  const median = request?.count ? `median ${milliseconds(request.p50)}` : "nothing in the last minute";
  tile("latency", milliseconds(request?.p95), median);
  const inflight = `${count(load.inflight_images)} of ${count(load.max_inflight_images)} in flight`;
  tile("queue", count(load.queued_images), inflight);
  tile("drift", drift.psi === null ? UNKNOWN : drift.psi.toFixed(3), driftNote(drift));
  byId("drift").classList.toggle("is-above", isAbove(drift));
  const since = time - model.since < DAY ? clock(model.since * 1000) : moment(model.since * 1000);
  byId("model").title = `${model.name} ${model.version}`;
  tile("model", `${model.name} ${model.version}`, `${PROVIDERS[model.provider] ?? model.provider}, since ${since}`);
}

export function showStages(stages) {
  const longest = Math.max(...stages.map((stage) => stage.p99 ?? 0), 1);
  byId("stages").replaceChildren(...stages.map((stage) => stageRow(stage, longest)));
}

export function showLoad({ load, history, records, model, shadow }) {
  const facts = [
    ["Bytes in flight", `${bytes(load.inflight_bytes)} of ${bytes(load.max_inflight_bytes)}`],
    ["Batch uploads", count(load.batch_uploads)],
    ["Refused, last minute", count(recent(history, "shed", 60))],
    ["Images at fault, last minute", count(recent(history, "errors", 60))],
    ["Records", recordsFact(records)],
    ["Band", bandFact(model.band)],
    ["Model file", h("span", { class: "mono", title: model.sha256 }, model.sha256.slice(0, 12))],
    ["Shadow", shadow ? shadowFact(shadow) : "none"],
  ];
  byId("load").replaceChildren(...facts.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact))));
}

function tile(id, value, note) {
  byId(id).classList.remove("skeleton");
  say(byId(id), value);
  say(byId(`${id}-note`), note);
}

function driftNote(drift) {
  if (drift.psi === null) return "from 200 scores on";
  return drift.limit === null ? "PSI" : `${isAbove(drift) ? "above" : "within"} the limit ${drift.limit.toFixed(3)}`;
}

function stageRow(stage, longest) {
  const [name, text] = STAGES[stage.stage];
  const numbers = [stage.p50, stage.p95, stage.p99].map((value) => h("td", { class: "number" }, milliseconds(value)));
  return h("tr", {}, h("th", { scope: "row" }, h("abbr", { title: text }, name), spread(stage, longest)), numbers);
}

// A line from the median to p99 with a dot at p95, on an axis of its own that is logarithmic from .1 ms.
function spread({ p50, p95, p99 }, longest) {
  if (p50 === null) return null;
  const at = (value) => 4 + (Math.log10(Math.max(value, 0.1) * 10) / Math.log10(Math.max(longest, 1) * 10)) * 132;
  return svg(
    "svg",
    { class: "spread", width: 140, height: 10, viewBox: "0 0 140 10", "aria-hidden": "true" },
    svg("line", { x1: at(p50), x2: at(p99), y1: 5, y2: 5 }),
    svg("circle", { cx: at(p95), cy: 5, r: 3.5 }),
  );
}

function recordsFact({ state, queued, written }) {
  if (state === "off") return "off";
  return state === "failing" ? `failing, ${count(queued)} wait` : `${count(written)} written, ${count(queued)} wait`;
}

function bandFact({ low, high, chosen_by: by, target_risk: risk, confidence }) {
  const edges = `${probability(low)} to ${probability(high)}`;
  if (by !== "certified") return `${edges}, ${by === "paper" ? "the paper's" : "the operator's"}`;
  const sure = `with confidence ${percent(confidence, 0)}`;
  const promise = `At most ${percent(risk)} of the accepted images are labelled wrongly, ${sure}`;
  return h("span", {}, `${edges}, `, h("abbr", { title: promise }, "certified"));
}

function shadowFact({ version, scored, decision_disagreements: other }) {
  return `version ${version}, ${percent(scored ? other / scored : null)} decided otherwise`;
}
