// Sends one dropped or selected image and shows the gate's decision.

import { ApiError, api, detailOf } from "./api.js";
import { byId, h } from "./dom.js";
import { areReadable, UNREADABLE } from "./files.js";
import { edges, milliseconds, probability, UNKNOWN, words } from "./format.js";
import { badge } from "./reasons.js";
import { drawScale } from "./scale.js";

/** @import { Decision } from "../types" */
/** @import { Child } from "./dom.js" */

/** @typedef {{ parts: Child[], after: () => void }} Shown */

/** @type {Record<Decision["reason"], (answer: Decision, expected: string) => string>} */
const REASONS = {
  confident: () => "The model is confident.",
  uncertain: ({ band }) => `The probability lies in the uncertainty band from ${edges(band)}.`,
  unfamiliar: () => "The image is unlike the training images.",
  contradicted: ({ label }, expected) => `Label ${words(label)}, expected ${words(expected)}.`,
};

// A slow line takes a while for a large file.
const LONGEST_MS = 120_000;

/** @type {File | null} */
let file = null;
/** @type {string | null} */
let preview = null;
let others = 0;
let turn = 0;

/** @param {() => void} onDecided called after each decision */
export function makeTry(onDecided) {
  const input = byId("file", HTMLInputElement);
  const decide = () => {
    if (file) judge(file, onDecided);
  };
  input.addEventListener("change", () => take(input.files, decide));
  byId("expected").addEventListener("change", decide);
  acceptDrops((dropped) => take(dropped, decide));
}

/**
 * @param {FileList | null | undefined} files
 * @param {() => void} decide
 */
function take(files, decide) {
  if (!files?.length) return;
  file = files[0];
  others = files.length - 1;
  if (preview) URL.revokeObjectURL(preview);
  preview = URL.createObjectURL(file);
  // The same file can be selected again.
  byId("file", HTMLInputElement).value = "";
  decide();
}

/**
 * @param {File} image
 * @param {() => void} onDecided
 */
async function judge(image, onDecided) {
  turn += 1;
  const mine = turn;
  const expected = byId("expected", HTMLSelectElement).value;
  say(h("p", { class: "soft" }, `Checking ${image.name} …`));
  const started = performance.now();
  const shown = await api(expected ? `/v1/trials?expected=${expected}` : "/v1/trials", {
    method: "POST",
    body: image,
    signal: AbortSignal.timeout(LONGEST_MS),
  }).then(
    (answer) => decided(answer, expected, performance.now() - started),
    (error) => refused(error, image),
  );
  // A late response to an earlier image must not replace a later one.
  if (mine !== turn) return;
  say(
    h(
      "div",
      { class: "verdict-body" },
      picture(image),
      h("div", { class: "verdict-facts" }, ...shown.parts, ignored()),
    ),
  );
  shown.after();
  onDecided();
}

/**
 * @param {Decision} answer
 * @param {string} expected
 * @param {number} elapsed
 * @returns {Shown}
 */
function decided(answer, expected, elapsed) {
  const scale = h("div", { class: "chart scale" });
  const parts = [
    h(
      "p",
      { class: "row" },
      h("span", { class: "verdict-decision" }, answer.decision === "accept" ? "Accepted" : "Discarded"),
      badge(answer.reason),
    ),
    scale,
    h(
      "p",
      {},
      `${words(answer.label)}, probability `,
      h("strong", {}, probability(answer.glasses_probability, answer.band)),
    ),
    h("p", { class: "soft small" }, REASONS[answer.reason](answer, expected)),
    h(
      "p",
      { class: "soft small" },
      [
        `novelty ${answer.novelty?.toFixed(2) ?? UNKNOWN}`,
        `${milliseconds(elapsed)} round trip`,
        `version ${answer.model.version}`,
      ].join(" · "),
    ),
  ];
  return { parts, after: () => drawScale(scale, answer.glasses_probability, answer.band) };
}

/**
 * @param {unknown} error
 * @param {File} image
 * @returns {Promise<Shown>}
 */
async function refused(error, image) {
  const detail = detailOf(error, (await areReadable([image])) ? "the service does not respond" : UNREADABLE);
  const parts = [
    h("p", { class: "verdict-decision" }, "No decision"),
    h("p", {}, `${detail}.`),
    error instanceof ApiError ? h("p", { class: "soft small mono" }, `${error.status} ${error.code}`) : null,
  ];
  return { parts, after: () => {} };
}

function ignored() {
  const many = others > 1 ? `The ${others} other files were` : "The other file was";
  return others ? h("p", { class: "soft small" }, `${many} not sent: this page checks one image at a time.`) : null;
}

/** @param {File} image */
function picture(image) {
  const shown = h("img", { src: preview, alt: `The image ${image.name}` });
  // The browser may not support the format.
  shown.addEventListener("error", () => shown.replaceWith(h("div", { class: "thumb-picture small" }, "no preview")));
  return shown;
}

/** @param {Node} part */
function say(part) {
  byId("verdict").replaceChildren(part);
}

/** @param {(files: FileList | undefined) => void} onDrop */
function acceptDrops(onDrop) {
  const curtain = byId("curtain");
  /** @param {DragEvent} event */
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) curtain.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    curtain.hidden = true;
    onDrop(event.dataTransfer?.files);
  });
}
