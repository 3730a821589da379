// The review page: reviewer, options, views, keys and buttons.

import { ApiError, api, detailOf, session, statusOf, stayWhile } from "./api.js";
import { byId, h, say } from "./dom.js";
import { words } from "./format.js";
import { showSession } from "./header.js";
import { showCertificates } from "./review-certificate.js";
import { describe, isHidden } from "./review-facts.js";
import { faultInAddress, putKindInAddress, useFilters } from "./review-filters.js";
import { Grid } from "./review-grid.js";
import { isTyping, keyOf } from "./review-keys.js";
import { announce, askToLogIn, warn, warnOfRefusal } from "./review-notices.js";
import { keepOptions, option, restoreOptions, setOption, watchOptions } from "./review-options.js";
import { ReviewSession } from "./review-session.js";
import { showAudit, showProgress } from "./review-side.js";
import { Single } from "./review-single.js";
import { askName, empty, failed, loading } from "./review-states.js";
import { recall, store } from "./storage.js";

/** @import { AnswerVisibility, Choice, Progress, ReviewKind } from "../types" */

/** @type {Record<string, Choice | "undo">} */
const KEYS = { g: "glasses", n: "no_glasses", u: "unclear", s: "skipped", z: "undo", Backspace: "undo" };
const SHORTCUTS = [...Object.keys(KEYS), "1", "2"];
const PROGRESS_MS = 10_000;
const RETRY_MS = 5_000;
const LASTING = [400, 401, 403, 404]; // Later requests would fail as well.
const NAME = "lensgate.reviewer";
const NAME_FAULT = "reviewer: ";
const DOUBLE_CLICK_MS = 300;

const stage = byId("stage");
const filters = useFilters();
const help = byId("help", HTMLDialogElement);
const views = { single: new Single(stage), grid: new Grid(stage, () => draw()) };
/** @type {ReviewSession | null} */
let review = null;
/** @type {Progress | null} */
let progress = null;
let shownState = "";
let unsaved = 0;
let isLoadingProgress = false;
let clicked = 0;

const view = () => views[option("view") === "grid" ? "grid" : "single"];
const answer = () => /** @type {AnswerVisibility} */ (option("answer"));
const kind = () => /** @type {ReviewKind} */ (option("kind"));

// --- Output -------------------------------------------------------------------------------------------------------

function draw() {
  if (!review) return;
  const isShown = view().draw(review, answer());
  byId("bar").hidden = !isShown && review.count === 0;
  for (const button of byId("bar").querySelectorAll("button")) {
    button.disabled = button.dataset.act === "undo" ? review.count === 0 : !isShown;
  }
  stage.setAttribute("aria-busy", String(!isShown && !review.isEmpty && !review.error));
  showSaving(review);
  showLast(review);
  say(byId("session-count"), String(review.verdicts));
  if (isShown) shownState = "";
  else showState(review);
}

/** @param {ReviewSession} current */
function showState(current) {
  const { kind, error, isEmpty } = current;
  const refusal = statusOf(error) === 400 ? detailOf(error, "") : "";
  const skipped = Math.max(progress?.mine.skipped ?? 0, current.skipped);
  const withOthers = progress?.with_others ?? 0;
  const key = JSON.stringify([kind, statusOf(error), detailOf(error, String(error)), isEmpty, skipped, withOthers]);
  if (key === shownState) return;
  const isName = refusal.startsWith(NAME_FAULT);
  if (isName && current.outbox.size > 0) return; // Asked for once they are saved.
  shownState = key;
  const onLook = () => {
    current.refresh();
  };
  if (isName) ask(refusal.slice(NAME_FAULT.length));
  else if (error) stage.replaceChildren(...failed(error, onLook));
  else if (isEmpty) {
    const onBring = () => {
      current.bringBackSkipped();
    };
    stage.replaceChildren(
      ...empty({ kind, isFiltered: Object.keys(filters).length > 0, skipped, withOthers, onLook, onBring }),
    );
    announce("No images are waiting for a verdict.");
  } else stage.replaceChildren(...loading());
}

/** @param {ReviewSession} current */
function showSaving({ outbox: { size, error } }) {
  if (unsaved && !size) loadProgress();
  unsaved = size;
  const badge = byId("saving");
  badge.hidden = size === 0;
  badge.className = `badge badge--dot badge--${error ? "bad" : "info"}`;
  say(badge, error ? `${size} not saved, retrying` : `saving ${size}`);
  if (statusOf(error) === 401) askToLogIn();
  else byId("logged-out").hidden = true;
}

/**
 * Show the last choice with the model's answer, which can no longer bias it.
 *
 * @param {ReviewSession} current
 */
function showLast({ last }) {
  if (!last) {
    say(byId("last"), "");
    return;
  }
  const model = last.choice === "skipped" ? "" : `; the model: ${describe(last.image)}`;
  say(byId("last"), `Last: ${words(last.choice)}${model}.`);
}

// --- Choices ------------------------------------------------------------------------------------------------------

/** @param {Choice | "undo"} name */
function act(name) {
  if (!review) return;
  if (name === "undo") undo(review);
  else judge(review, name);
}

/**
 * @param {ReviewSession} current
 * @param {Choice} choice
 */
function judge(current, choice) {
  const image = view().chosen(current);
  if (!image) return;
  if (choice !== "skipped" && !view().isSeen(image, current)) {
    announce("No verdict: the preview is not loaded.");
    return;
  }
  const hidden = isHidden(image, answer());
  current.judge(image, choice);
  view().advance(current);
  draw();
  const next = view().chosen(current);
  const model = hidden && choice !== "skipped" ? ` The model: ${describe(image)}.` : "";
  announce(
    `${words(choice)}.${model} ${next ? `Next: ${isHidden(next, answer()) ? "answer hidden" : describe(next)}.` : ""}`,
  );
}

/** @param {ReviewSession} current */
function undo(current) {
  const image = current.undo();
  if (!image) return;
  view().choose(image);
  draw();
  announce(`Undone. ${isHidden(image, answer()) ? "Answer hidden" : describe(image)}.`);
}

/** @param {KeyboardEvent} event */
function press(event) {
  const target = event.target;
  // Autofill and extensions send events without a key, or to the document.
  if (!(event instanceof KeyboardEvent && target instanceof Element)) return;
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || isTyping(target)) return;
  const key = keyOf(event);
  if (event.key === "?") help.showModal();
  else if (review && view().chosen(review) && stage.contains(target) && view().move(event.key)) draw();
  else if (byId("shortcuts", HTMLInputElement).checked && SHORTCUTS.includes(key)) shortcut(key, event.repeat);
  else return;
  event.preventDefault();
}

/**
 * @param {string} key
 * @param {boolean} isRepeated
 */
function shortcut(key, isRepeated) {
  if (key === "1" || key === "2") chooseView(key === "1" ? "single" : "grid");
  else if (!isRepeated || KEYS[key] === "undo") act(KEYS[key]);
}

// --- Options ------------------------------------------------------------------------------------------------------

/** @param {"single" | "grid"} value */
function chooseView(value) {
  if (option("view") === value) return;
  setOption("view", value);
  keepOptions();
  showOption("view");
}

/** @param {string} name */
function showOption(name) {
  if (name === "view" || name === "kind") for (const each of Object.values(views)) each.clear();
  shownState = "";
  if (name === "kind") {
    putKindInAddress(kind());
    review?.choose(kind());
  }
  draw();
}

// --- Reviewer and background requests -----------------------------------------------------------------------------

async function open() {
  try {
    await begin();
  } catch (error) {
    byId("side").hidden = true;
    stage.setAttribute("aria-busy", "false");
    stage.replaceChildren(...failed(error, () => location.reload()));
    if (!LASTING.includes(statusOf(error))) setTimeout(open, RETRY_MS);
  }
}

async function begin() {
  const fault = faultInAddress();
  if (fault) throw new ApiError(400, "malformed_request", fault);
  restoreOptions();
  const { access, name } = await session();
  if (access === "on") {
    start(name, { isToken: true });
    return;
  }
  const known = recall(NAME);
  if (known) start(known);
  else ask();
}

/** @param {string} [fault] why the service refused the name before */
function ask(fault) {
  if (review?.outbox.size) {
    warn("unsaved", "Your verdicts are not saved yet: change the name when they are.");
    return;
  }
  review?.stop();
  review = null;
  byId("who").replaceChildren();
  byId("bar").hidden = true;
  stage.setAttribute("aria-busy", "false");
  stage.replaceChildren(
    ...askName((name) => {
      store(NAME, name);
      start(name);
    }, fault),
  );
  byId("name").focus();
}

/**
 * @param {string} reviewer
 * @param {{ isToken?: boolean }} [options] whether it is the name of the token, which cannot be changed here
 */
function start(reviewer, { isToken = false } = {}) {
  const change = h(
    "button",
    { type: "button", class: "button button--quiet button--small", onclick: () => ask() },
    "Change",
  );
  byId("who").replaceChildren(reviewer, ...(isToken ? [] : [change]));
  shownState = "";
  review = new ReviewSession({
    reviewer,
    kind: kind(),
    filters,
    onChange: draw,
    onRefused: ({ id }, reason) => warnOfRefusal(id, reason),
  });
  review.refresh();
  draw();
  loadProgress();
}

async function loadProgress() {
  if (!review || document.hidden || isLoadingProgress) return;
  isLoadingProgress = true;
  const query = `?reviewer=${encodeURIComponent(review.reviewer)}`;
  try {
    /** @type {Progress} */
    const found = await api(`/v1/review/progress${query}`);
    progress = found;
    byId("side").hidden = false;
    showProgress(found);
    showAudit(found.audit);
    draw();
  } catch (error) {
    // The request for images reports the problem. Without records there is no progress.
    byId("side").hidden = statusOf(error) === 404 || statusOf(error) === 403;
  } finally {
    isLoadingProgress = false;
  }
}

function retry() {
  // A request that is not valid does not become so.
  const isWaiting = review && (review.isEmpty || (review.error && statusOf(review.error) !== 400));
  if (review && isWaiting && !document.hidden) review.refresh();
}

watchOptions(showOption);
byId("help-open").addEventListener("click", () => help.showModal());
byId("bar").addEventListener("click", ({ target, detail, timeStamp }) => {
  const button = /** @type {Element} */ (target).closest("button");
  // The second click of a double click would judge the next image, which has not been looked at.
  const isDouble = detail > 1 && timeStamp - clicked < DOUBLE_CLICK_MS;
  clicked = timeStamp;
  if (button && !isDouble) act(/** @type {Choice | "undo"} */ (button.dataset.act));
});
showCertificates();
document.addEventListener("keydown", press);
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !review) return;
  review.outbox.retryNow();
  review.refresh();
  loadProgress();
});
stayWhile(() => Boolean(review?.outbox.size));
window.addEventListener("online", () => review?.outbox.retryNow());
window.addEventListener("beforeunload", (event) => {
  if (review?.outbox.size) event.preventDefault();
});
setInterval(loadProgress, PROGRESS_MS);
setInterval(retry, RETRY_MS);

open();
showSession().catch(() => {}); // `open` reports the same problem.
