// Shows the state of the service in the header, and its problems above the content.

import { detailOf, statusOf } from "./api.js";
import { byId, h } from "./dom.js";
import { count, moment } from "./format.js";
import { exceedsLimit } from "./series.js";

/** @import { Operations, Records } from "../types" */

/** @typedef {{ text: string, href: string }} Link */
/** @typedef {{ kind: "warn" | "bad", text: string, canRetry?: boolean, links?: Link[] }} Notice */

const STATES = {
  ready: ["Ready", "good"],
  draining: ["Draining", "warn"],
  failed: ["Failed", "bad"],
  offline: ["No connection", "bad"],
  forbidden: ["No permission", "warn"],
};

/** @type {Partial<Record<Operations["state"], Notice>>} */
const STATE_NOTICES = {
  draining: {
    kind: "warn",
    text: "The service is shutting down: it completes admitted requests and refuses new ones.",
  },
  failed: { kind: "bad", text: "An inference thread has ended: no decisions are possible until a restart." },
};

export class Banners {
  /** @type {() => void} */
  #retry;
  #shown = "";

  /** @param {() => void} retry requests a new snapshot at once */
  constructor(retry) {
    this.#retry = retry;
  }

  /** @param {Operations} snapshot */
  answered(snapshot) {
    this.#state(snapshot.state);
    this.#show(notices(snapshot));
  }

  /**
   * @param {unknown} error
   * @param {Operations | null} last the latest snapshot received
   */
  failed(error, last) {
    if (statusOf(error) === 403) {
      const text = `Access denied: ${detailOf(error, "")}. Ask for a token with the scope “review”.`;
      this.#state("forbidden");
      this.#show([{ kind: "warn", text }]);
      return;
    }
    this.#state("offline");
    const detail = detailOf(error, "");
    const reason = detail && ` (${detail})`;
    const since = last ? ` This page shows the state of ${moment(last.time * 1000)}.` : "";
    const text = `The service does not respond${reason}. The page retries automatically.${since}`;
    this.#show([{ kind: "bad", text, canRetry: true }]);
  }

  /** @param {keyof typeof STATES} name */
  #state(name) {
    const [text, kind] = STATES[name];
    const badge = byId("state");
    badge.className = `badge badge--dot badge--${kind}`;
    if (badge.textContent !== text) badge.textContent = text;
  }

  /**
   * Change the page only if the notices changed: a screen reader announces every change.
   *
   * @param {Notice[]} notices
   */
  #show(notices) {
    const key = JSON.stringify(notices);
    if (key === this.#shown) return;
    this.#shown = key;
    const place = byId("banners");
    place.hidden = notices.length === 0;
    place.replaceChildren(...notices.map((notice) => this.#notice(notice)));
  }

  /** @param {Notice} notice */
  #notice({ kind, text, canRetry, links = [] }) {
    const attributes = { type: "button", class: "button button--small", onclick: this.#retry };
    const button = canRetry ? h("button", attributes, "Retry now") : null;
    const shown = links.map((link) => h("a", { href: link.href }, link.text));
    return h("div", { class: `notice notice--${kind} row` }, h("span", {}, text), button, shown);
  }
}

/**
 * @param {Operations} snapshot
 * @returns {Notice[]}
 */
function notices({ state, records, drift, loads, model, links }) {
  /** @type {Notice[]} */
  const found = [];
  const notice = STATE_NOTICES[state];
  if (notice) found.push({ ...notice, links: state === "failed" ? runbook(links, "LensgateNotAlive") : [] });
  if (loads.model) {
    const text = `The model named by CURRENT cannot be loaded; version ${model.version} is still served.`;
    found.push(failedLoad(text, "current model cannot be served", runbook(links, "LensgateModelLoadFailed")));
  }
  if (loads.tokens) {
    const text = "The changed token file is unusable; the previous tokens stay in force.";
    found.push(failedLoad(text, "tokens not reloaded", runbook(links, "LensgateTokensLoadFailed")));
  }
  if (loads.certificate) {
    const text = "The changed certificate is unusable; the previous one stays in use until it expires.";
    found.push(failedLoad(text, "certificate not reloaded", runbook(links, "LensgateCertificateLoadFailed")));
  }
  if (records.state === "failing") {
    found.push({ kind: "warn", text: recordsText(records), links: runbook(links, "LensgateRecordsFailing") });
  }
  if (exceedsLimit(drift)) {
    const images = { text: "Show discarded images", href: "/decisions?decision=discard" };
    const shown = records.state === "off" ? [] : [images];
    const text = driftText(drift.psi, drift.limit);
    found.push({ kind: "warn", text, links: [...shown, ...runbook(links, "LensgateScoreDrift")] });
  }
  return found;
}

/**
 * @param {string} text
 * @param {string} line the words of the log line that holds the reason
 * @param {Link[]} links
 * @returns {Notice}
 */
function failedLoad(text, line, links) {
  return { kind: "bad", text: `${text} The log has the reason, at “${line}”.`, links };
}

/**
 * @param {Operations["links"]} links
 * @param {string} alert
 * @returns {Link[]}
 */
function runbook({ runbooks }, alert) {
  return runbooks === null ? [] : [{ text: "Runbook", href: `${runbooks}#${alert.toLowerCase()}` }];
}

/** @param {Records} records */
function recordsText({ dropped }) {
  const lost = dropped ? ` (${count(dropped)} dropped so far)` : "";
  return `Decisions cannot be recorded at present${lost}. Decisions continue; the log has the reason.`;
}

/**
 * @param {number} psi
 * @param {number} limit
 */
function driftText(psi, limit) {
  return (
    `The scores have drifted from those in the model's card (PSI ${psi.toFixed(2)}, limit ${limit.toFixed(2)}): ` +
    "the images may differ from those the model was evaluated on."
  );
}
