// The review page: who judges, what is shown, and what the keys and buttons do.

import { api, session } from "./api.js";
import { byId, h, say } from "./dom.js";
import { words } from "./format.js";
import { showSession } from "./header.js";
import { describe, isHidden } from "./review-facts.js";
import { Grid } from "./review-grid.js";
import { showAudit, showProgress } from "./review-side.js";
import { Single } from "./review-single.js";
import { Sitting } from "./review-sitting.js";
import { askName, empty, failed, loading } from "./review-states.js";

const KEYS = { g: "glasses", n: "no_glasses", u: "unclear", s: "skipped", z: "undo", Backspace: "undo" };
const SHORTCUTS = [...Object.keys(KEYS), "1", "2"];
const PROGRESS_MS = 10_000;
const RETRY_MS = 5_000;
const NAME = "lensgate.reviewer";
const OPTIONS = "lensgate.review";

const stage = byId("stage");
const options = byId("options");
const views = { single: new Single(stage), grid: new Grid(stage, () => draw()) };
let sitting = null;
let progress = null;
let shownState = "";

const view = () => views[options.elements.view.value];
const answer = () => options.elements.answer.value;

// --- What is seen -------------------------------------------------------------------------------------------------

function draw() {
  if (!sitting) return;
  const isShown = view().draw(sitting, { answer: answer() });
  byId("bar").hidden = !isShown && sitting.count === 0;
  for (const button of byId("bar").querySelectorAll("button")) {
    button.disabled = button.dataset.act === "undo" ? sitting.count === 0 : !isShown;
  }
  stage.setAttribute("aria-busy", String(!isShown && !sitting.isEmpty && !sitting.error));
  if (isShown) shownState = "";
  else showState();
  showSaving();
  showLast();
  say(byId("sitting-count"), String([...sitting.said.values()].filter((said) => said !== "refused" && said !== "skipped").length));
}

function showState() {
  const { kind, error, isEmpty } = sitting;
  const skipped = Math.max(progress?.mine.skipped ?? 0, [...sitting.said.values()].filter((said) => said === "skipped").length);
  const withOthers = progress?.with_others ?? 0;
  const key = JSON.stringify([kind, error?.status, error?.message, isEmpty, skipped, withOthers]);
  if (key === shownState) return;
  shownState = key;
  const look = () => sitting.fill(true);
  if (error) stage.replaceChildren(...failed(error, look));
  else if (isEmpty) {
    stage.replaceChildren(...empty({ kind, skipped, withOthers, onLook: look, onBring: () => sitting.bringBackSkipped() }));
    announce("Nothing waits for a verdict.");
  } else stage.replaceChildren(...loading());
}

let unsaved = 0;

function showSaving() {
  const { size, error } = sitting.outbox;
  if (unsaved && !size) look();
  unsaved = size;
  const badge = byId("saving");
  badge.hidden = size === 0;
  badge.className = `badge badge--dot badge--${error ? "bad" : "info"}`;
  say(badge, error ? `${size} not saved, trying again` : `saving ${size}`);
}

// What was said last, and what the model had said: now it cannot sway anybody.
function showLast() {
  const { image, said } = sitting.last ?? {};
  const model = said === "skipped" ? "" : `; the model said ${image && describe(image)}`;
  say(byId("last"), image ? `Last: ${words(said)}${model}.` : "");
}

function announce(text) {
  say(byId("announce"), text);
}

function warn(text) {
  const close = h("button", { type: "button", class: "button button--small", onclick: () => notice.remove() }, "Close");
  const notice = h("div", { class: "notice notice--warn row" }, h("span", {}, text), close);
  byId("notices").replaceChildren(notice);
}

// --- What is done -------------------------------------------------------------------------------------------------

function act(name) {
  if (!sitting) return;
  if (name === "undo") undo();
  else judge(name);
}

function judge(said) {
  const image = view().chosen(sitting);
  if (!image) return;
  const hidden = isHidden(image, answer());
  sitting.say(image, said);
  view().advance?.(sitting);
  draw();
  const next = view().chosen(sitting);
  const model = hidden && said !== "skipped" ? ` The model said ${describe(image)}.` : "";
  announce(`${words(said)}.${model} ${next ? `Next: ${isHidden(next, answer()) ? "answer hidden" : describe(next)}.` : ""}`);
}

function undo() {
  const image = sitting.undo();
  if (!image) return;
  view().choose(image);
  draw();
  announce(`Taken back. ${isHidden(image, answer()) ? "Answer hidden" : describe(image)}.`);
}


function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open || isTyping(event.target)) return;
  if (event.key === "?") byId("help").showModal();
  else if (view().chosen(sitting ?? { images: [] }) && stage.contains(event.target) && view().move(event.key)) draw();
  else if (byId("shortcuts").checked && SHORTCUTS.includes(normal(event.key))) shortcut(event);
  else return;
  event.preventDefault();
}

function shortcut(event) {
  const key = normal(event.key);
  if (key === "1" || key === "2") choose("view", key === "1" ? "single" : "grid");
  else if (!event.repeat || KEYS[key] === "undo") act(KEYS[key]);
}

function normal(key) {
  return key.length === 1 ? key.toLowerCase() : key;
}

function isTyping(target) {
  return target.matches("select, textarea, input:not([type=radio], [type=checkbox])");
}

// --- What is chosen -----------------------------------------------------------------------------------------------

function choose(name, value) {
  if (options.elements[name].value === value) return;
  options.elements[name].value = value;
  changed({ target: { name } });
}

function changed({ target }) {
  store(OPTIONS, JSON.stringify(Object.fromEntries(new FormData(options))));
  if (target.name === "view") Object.values(views).forEach((each) => each.clear());
  shownState = "";
  if (target.name === "kind") {
    views.grid.clear();
    views.single.clear();
    sitting?.choose(options.elements.kind.value);
  }
  draw();
}

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(OPTIONS) ?? "{}");
    for (const [name, value] of Object.entries(kept)) if (options.elements[name]) options.elements[name].value = value;
  } catch {
    // Nothing is kept, or nothing can be read: the page begins as it does for everybody.
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Then it is asked for again the next time.
  }
}

// --- Who, and the rest --------------------------------------------------------------------------------------------

async function begin() {
  restore();
  const { access, name } = await session();
  if (access === "on") return start(null, name);
  const known = localStorage.getItem(NAME);
  if (known) start(known, known);
  else ask();
}

function ask() {
  sitting?.stop();
  sitting = null;
  byId("bar").hidden = true;
  stage.setAttribute("aria-busy", "false");
  stage.replaceChildren(
    ...askName((name) => {
      store(NAME, name);
      start(name, name);
    }),
  );
  byId("name").focus();
}

function start(reviewer, name) {
  const change = h("button", { type: "button", class: "button button--quiet button--small", onclick: ask }, "Change");
  byId("who").replaceChildren(name, ...(reviewer === null ? [] : [change]));
  shownState = "";
  sitting = new Sitting({
    reviewer,
    kind: options.elements.kind.value,
    onChange: draw,
    onRefused: (image, text) => warn(`Your verdict on ${image.id} does not count: ${text}.`),
  });
  sitting.fill(true);
  draw();
  look();
}

async function look() {
  if (!sitting || document.hidden) return;
  const who = sitting.reviewer === null ? "" : `?reviewer=${encodeURIComponent(sitting.reviewer)}`;
  try {
    progress = await api(`/v1/review/progress${who}`);
    byId("side").hidden = false;
    showProgress(progress);
    showAudit(progress.audit);
    draw();
  } catch (error) {
    // The images are asked for as well, and say what is wrong. Without records there is nothing to count.
    byId("side").hidden = error.status === 404 || error.status === 403;
  }
}

function again() {
  if (sitting && !document.hidden && (sitting.error || sitting.isEmpty)) sitting.fill(true);
}

options.addEventListener("change", changed);
options.addEventListener("submit", (event) => event.preventDefault());
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("bar").addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) act(button.dataset.act);
});
document.addEventListener("keydown", press);
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !sitting) return;
  sitting.outbox.hurry();
  sitting.fill(true);
  look();
});
window.addEventListener("online", () => sitting?.outbox.hurry());
window.addEventListener("beforeunload", (event) => {
  if (sitting?.outbox.size) event.preventDefault();
});
setInterval(look, PROGRESS_MS);
setInterval(again, RETRY_MS);

begin().catch((error) => stage.replaceChildren(...failed(error, () => location.reload())));
showSession().catch(() => {});
