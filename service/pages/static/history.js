// The history over 15 minutes, an hour or a day: read from the records, or without them from the running process.

import { api } from "./api.js";
import { byId, h, say } from "./dom.js";
import { clock, count, percent, rate } from "./format.js";
import { readOut, summarise, toPoints, toRows } from "./series.js";
import { showRejectRate } from "./tiles.js";
import { TimeChart } from "./timechart.js";

/** @import { Operations, OperationsHistory, Point, Span } from "../types" */

/** @typedef {OperationsHistory["window"]} Window */

/** @type {Record<Window, { seconds: number, name: string, every: number }>} */
const WINDOWS = {
  "15m": { seconds: 900, name: "15 minutes", every: 2 },
  "1h": { seconds: 3600, name: "hour", every: 8 },
  "24h": { seconds: 86_400, name: "24 hours", every: 60 },
};

export class History {
  /** @type {(history: OperationsHistory) => void} */
  #onRead;
  /** @type {Span | null} */
  #span = null;
  #chart;
  /** @type {Window} */
  #window = "15m";
  #due = 0;
  #isLoading = false;
  #turn = 0;

  /** @param {(history: OperationsHistory) => void} onRead receives each reading of the records */
  constructor(onRead) {
    this.#onRead = onRead;
    this.#chart = new TimeChart(byId("history"), (point) => this.#read(point));
  }

  /** @param {Window} window */
  choose(window) {
    if (window === this.#window) return;
    this.#window = window;
    this.#due = 0;
    this.#turn += 1;
    this.#isLoading = false;
  }

  /** @param {Operations} snapshot */
  async follow(snapshot) {
    const isOff = snapshot.records.state === "off";
    byId("windows").hidden = isOff;
    if (isOff) {
      this.#show(inMemory(snapshot));
      return;
    }
    const now = performance.now(); // The service's clock may be set back.
    if (this.#isLoading || now < this.#due) return;
    const turn = this.#turn;
    const { every } = WINDOWS[this.#window];
    this.#isLoading = true;
    this.#due = now + every * 1000;
    try {
      /** @type {OperationsHistory} */
      const found = await api(`/v1/operations/history?window=${this.#window}`, { signal: AbortSignal.timeout(20_000) });
      if (turn !== this.#turn) return;
      say(byId("history-fault"), "");
      this.#show(toSpan(found));
      this.#onRead(found);
    } catch {
      if (turn === this.#turn) this.#fail(snapshot);
    } finally {
      if (turn === this.#turn) this.#isLoading = false;
    }
  }

  /** @param {Operations} snapshot */
  #fail(snapshot) {
    if (!this.#span?.isRecorded) this.#show(inMemory(snapshot));
    const shown = this.#span?.isRecorded ? "their last state" : "what the running service remembers";
    say(byId("history-fault"), `The records cannot be read at present: this is ${shown}.`);
  }

  /** @param {Span} span */
  #show(span) {
    this.#span = span;
    showRejectRate(span);
    const isEmpty = span.decisions.every((images) => images === 0);
    byId("empty").hidden = !isEmpty;
    say(byId("empty-title"), `No decisions in the last ${span.name}.`);
    for (const id of ["history", "history-legend", "history-readout", "history-details"]) byId(id).hidden = isEmpty;
    if (isEmpty) return;
    this.#chart.show(toPoints(span), span);
    byId("history-table").replaceChildren(...toRows(span).map((row) => tableRow(row, span.span)));
  }

  /** @param {Point | null} point */
  #read(point) {
    if (this.#span) say(byId("history-readout"), point ? readOut(point) : summarise(this.#span));
  }
}

/**
 * The last 15 minutes of the running processes.
 *
 * @param {Operations} snapshot
 * @returns {Span}
 */
function inMemory({ history, time }) {
  return { ...history, now: time, span: 900, name: WINDOWS["15m"].name, isRecorded: false, changes: [] };
}

/**
 * The reading as the chart takes it. The last step has just begun: it ends now.
 *
 * @param {OperationsHistory} found
 * @returns {Span}
 */
function toSpan(found) {
  const { times, time: now, step_seconds: step } = found;
  const { seconds: span, name } = WINDOWS[found.window];
  return {
    ...found,
    times: times.map((end) => Math.min(end, now)),
    seconds: times.map((end) => Math.max(0.001, Math.min(end, now) - (end - step))),
    now,
    span,
    name,
    isRecorded: true,
  };
}

/**
 * @param {ReturnType<typeof toRows>[number]} row
 * @param {number} span
 */
function tableRow(row, span) {
  const until = clock(row.time * 1000);
  const cells = [count(row.images), rate(row.perSecond), percent(row.rejected), ...row.reasons.map(count)];
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, span > 3600 ? until.slice(0, 5) : until),
    cells.map((cell) => h("td", { class: "number" }, cell)),
  );
}
