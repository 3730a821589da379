// Drop an image on the page, or choose one, and see what the gate decides about it.

import { api } from "./api.js";
import { byId, h } from "./dom.js";
import { UNKNOWN, milliseconds, probability, words } from "./format.js";
import { drawScale } from "./scale.js";

const REASONS = {
  confident: () => "The model is certain, and nothing speaks against it.",
  uncertain: ({ band }) => `Its probability lies in the band from ${band.low} to ${band.high}: too uncertain to keep.`,
  unfamiliar: () => "It is unlike anything the model learned from.",
  contradicted: ({ label }, expected) => `It shows ${words(label)}, and ${words(expected)} was asked for.`,
};

let file = null;
let preview = null;
let others = 0;
let turn = 0;

// `onDecided` is told when there is something new to see in the numbers.
export function makeTry(onDecided) {
  const input = byId("file");
  const decide = () => judge(onDecided);
  input.addEventListener("change", () => take(input.files, decide));
  byId("expected").addEventListener("change", () => file && decide());
  acceptDrops((dropped) => take(dropped, decide));
}

function take(files, decide) {
  if (!files.length) return;
  file = files[0];
  others = files.length - 1;
  if (preview) URL.revokeObjectURL(preview);
  preview = URL.createObjectURL(file);
  // The same file can be chosen again.
  byId("file").value = "";
  decide();
}

async function judge(onDecided) {
  turn += 1;
  const mine = turn;
  const expected = byId("expected").value;
  say(h("p", { class: "soft" }, `Deciding about ${file.name} …`));
  const started = performance.now();
  const shown = await api(path(expected), { method: "POST", body: file }).then(
    (answer) => decided(answer, expected, performance.now() - started),
    (error) => refused(error),
  );
  // An earlier image whose answer is late must not replace a later one's.
  if (mine !== turn) return;
  say(h("div", { class: "verdict-body" }, picture(), h("div", { class: "verdict-facts" }, ...shown.parts, ignored())));
  shown.after();
  onDecided();
}

function path(expected) {
  const query = new URLSearchParams({ id: file.name.slice(0, 128) });
  if (expected) query.set("expected", expected);
  return `/v1/decisions?${query}`;
}

function decided(answer, expected, elapsed) {
  const kind = answer.decision === "accept" ? "good" : "warn";
  const scale = h("div", { class: "chart scale" });
  const parts = [
    h(
      "p",
      { class: "row" },
      h("span", { class: "verdict-decision" }, answer.decision === "accept" ? "Accepted" : "Discarded"),
      h("span", { class: `badge badge--${kind}` }, words(answer.reason)),
    ),
    scale,
    h("p", {}, `${words(answer.label)}, probability `, h("strong", {}, probability(answer.glasses_probability))),
    h("p", { class: "soft small" }, REASONS[answer.reason](answer, expected)),
    h(
      "p",
      { class: "soft small" },
      [
        `novelty ${answer.novelty?.toFixed(2) ?? UNKNOWN}`,
        `${milliseconds(elapsed)} there and back`,
        `version ${answer.model.version}`,
      ].join(" · "),
    ),
  ];
  return { parts, after: () => drawScale(scale, answer.glasses_probability, answer.band) };
}

function refused(error) {
  const detail = error.detail ?? "the service does not answer";
  const parts = [
    h("p", { class: "verdict-decision" }, "No decision"),
    h("p", {}, `${detail}.`),
    error.code && h("p", { class: "soft small mono" }, `${error.status} ${error.code}`),
  ];
  return { parts, after: () => {} };
}

function ignored() {
  const many = others > 1 ? `The ${others} other files were` : "The other file was";
  return others ? h("p", { class: "soft small" }, `${many} not sent: this page takes one image at a time.`) : null;
}

function picture() {
  const image = h("img", { src: preview, alt: `The image ${file.name}` });
  // What is no image that this browser can show has no picture.
  image.addEventListener("error", () => image.replaceWith(h("div", { class: "thumb-picture small" }, "no picture")));
  return image;
}

function say(...parts) {
  byId("verdict").replaceChildren(...parts);
}

function acceptDrops(onDrop) {
  const curtain = byId("curtain");
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
    onDrop(event.dataTransfer.files);
  });
}
