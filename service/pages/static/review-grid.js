// Many images at once: one of them is chosen, what was judged stays where it is until the whole page is.

import { h } from "./dom.js";
import { probability, words } from "./format.js";
import { describe, isHidden } from "./review-facts.js";

const NARROW = matchMedia("(max-width: 640px)");

export class Grid {
  #stage;
  #onChoose;
  #page = [];
  #at = 0;
  #list = null;

  constructor(stage, onChoose) {
    this.#stage = stage;
    this.#onChoose = onChoose;
  }

  chosen() {
    return this.#page[this.#at] ?? null;
  }

  draw(sitting, { answer }) {
    const isJudged = ({ record }) => sitting.said.has(record);
    const isGone = (image) => !isJudged(image) && !sitting.images.includes(image);
    const before = sitting.images[0];
    if (this.#page.length && before?.isHeld && !this.#page.includes(before)) this.#turn([before, ...this.#page]);
    if (this.#page.every((image) => isJudged(image) || isGone(image))) this.#turn(sitting.images.slice(0, size()));
    else if (isGone(this.chosen() ?? {})) this.#at = this.#next(isJudged);
    if (this.#page.length === 0) return false;
    if (this.#list === null || !this.#list.isConnected) this.#build();
    this.#page.forEach((image, index) => this.#paint(index, image, sitting.said.get(image.record), isHidden(image, answer)));
    return true;
  }

  clear() {
    this.#turn([]);
    return false;
  }

  // Make this image the chosen one.
  choose(image) {
    const at = this.#page.indexOf(image);
    if (at >= 0) this.#pick(at);
  }

  // After a verdict: on to the next one without any, unless another page was turned to.
  advance(sitting) {
    const isJudged = ({ record }) => sitting.said.has(record);
    if (isJudged(this.chosen() ?? {})) this.#pick(this.#next(isJudged));
  }

  // Whether the key was one that moves.
  move(key) {
    const columns = this.#columns();
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const ends = { Home: 0, End: this.#page.length - 1 };
    const to = key in steps ? this.#at + steps[key] : ends[key];
    if (to === undefined) return false;
    if (to >= 0 && to < this.#page.length) this.#pick(to, true);
    return true;
  }

  #turn(images) {
    this.#page = images;
    this.#at = 0;
    this.#hadFocus ||= this.#hasFocus();
    this.#list?.remove();
    this.#list = null;
  }

  #hadFocus = false;

  #build() {
    this.#list = h(
      "div",
      { class: "grid", role: "listbox", "aria-label": "Images to judge", "aria-orientation": "horizontal" },
      this.#page.map((image, index) =>
        h(
          "div",
          { class: "tile", role: "option", tabindex: -1, "data-record": image.record, onclick: () => this.#pick(index, true) },
          h("img", { src: image.image, alt: "", loading: "eager", width: 256, height: 256 }),
          h("span", { class: "tile-foot small" }),
        ),
      ),
    );
    this.#stage.replaceChildren(this.#list);
    if (this.#hadFocus) this.#list.children[this.#at].focus();
    this.#hadFocus = false;
  }

  #paint(index, image, said, hidden) {
    const tile = this.#list.children[index];
    const isChosen = index === this.#at;
    tile.tabIndex = isChosen ? 0 : -1;
    tile.setAttribute("aria-selected", isChosen);
    tile.dataset.said = said ?? "";
    const answer = hidden && !said ? "answer hidden" : describe(image);
    tile.setAttribute("aria-label", `Image ${index + 1} of ${this.#page.length}: ${said ? `${words(said)}; the model: ` : ""}${answer}`);
    const foot = said ? words(said) : hidden ? "–" : `${probability(image.glasses_probability)} ${image.reason}`;
    if (tile.lastChild.textContent !== foot) tile.lastChild.textContent = foot;
  }

  #pick(at, focus = this.#hasFocus()) {
    this.#at = at;
    this.#onChoose();
    if (focus) this.#list?.children[at]?.focus();
  }

  #next(isJudged) {
    const after = this.#page.findIndex((image, index) => index > this.#at && !isJudged(image));
    return after >= 0 ? after : Math.max(0, this.#page.findIndex((image) => !isJudged(image)));
  }

  #hasFocus() {
    return this.#list?.contains(document.activeElement) ?? false;
  }

  #columns() {
    return getComputedStyle(this.#list).gridTemplateColumns.split(" ").length;
  }
}

function size() {
  return NARROW.matches ? 12 : 24;
}
