// Many images at once, one of them selected; judged images stay in place until the whole page is done.

import { h } from "./dom.js";
import { probability, words } from "./format.js";
import { outcome } from "./reasons.js";
import { describe, isHidden } from "./review-facts.js";
import { isDeleted, isLoaded, load } from "./review-picture.js";

/** @import { AnswerVisibility, ReviewImage } from "../types" */
/** @import { ReviewSession } from "./review-session.js" */

const NARROW = matchMedia("(max-width: 640px)");

export class Grid {
  #stage;
  #onChoose;
  /** @type {ReviewImage[]} */
  #page = [];
  #at = 0;
  /** @type {HTMLElement | null} */
  #list = null;
  #hadFocus = false;

  /**
   * @param {Element} stage
   * @param {() => void} onChoose
   */
  constructor(stage, onChoose) {
    this.#stage = stage;
    this.#onChoose = onChoose;
  }

  /** The image that the next verdict applies to. */
  chosen() {
    return this.#page[this.#at] ?? null;
  }

  /**
   * Draw; returns whether there is an image.
   *
   * @param {ReviewSession} review
   * @param {AnswerVisibility} answer
   */
  draw(review, answer) {
    /** @param {ReviewImage} image */
    const isJudged = ({ record }) => review.choices.has(record);
    /** @param {ReviewImage} image */
    const isGone = (image) => !isJudged(image) && !review.images.includes(image);
    const before = review.images[0];
    if (this.#page.length && before?.isHeld && !this.#page.includes(before)) this.#turn([before, ...this.#page]);
    const chosen = this.chosen();
    if (this.#page.every((image) => isJudged(image) || isGone(image))) this.#turn(review.images.slice(0, size()));
    else if (!chosen || isGone(chosen)) this.#at = this.#next(isJudged);
    if (this.#page.length === 0) return false;
    const list = this.#list?.isConnected ? this.#list : this.#build();
    for (const [index, image] of this.#page.entries()) {
      this.#paint(list.children[index], index, review.choices.get(image.record), isHidden(image, answer));
    }
    return true;
  }

  clear() {
    this.#turn([]);
    return false;
  }

  /**
   * Select this image, if the page shows it.
   *
   * @param {ReviewImage} image
   */
  choose(image) {
    const at = this.#page.indexOf(image);
    if (at >= 0) this.#pick(at);
  }

  /**
   * Whether the reviewer can see this image.
   *
   * @param {ReviewImage} image
   */
  isSeen(image) {
    const picture = tileAt(this.#list, this.#page.indexOf(image))?.querySelector("img");
    return Boolean(picture && isLoaded(picture));
  }

  /**
   * After a verdict, select the next image without one, unless the page has turned.
   *
   * @param {ReviewSession} review
   */
  advance(review) {
    /** @param {ReviewImage} image */
    const isJudged = ({ record }) => review.choices.has(record);
    const chosen = this.chosen();
    if (chosen && isJudged(chosen)) this.#pick(this.#next(isJudged));
  }

  /**
   * Move the selection by a key; returns whether the key is one that moves.
   *
   * @param {string} key
   */
  move(key) {
    const columns = this.#columns();
    /** @type {Record<string, number>} */
    const targets = {
      ArrowLeft: this.#at - 1,
      ArrowRight: this.#at + 1,
      ArrowUp: this.#at - columns,
      ArrowDown: this.#at + columns,
      Home: 0,
      End: this.#page.length - 1,
    };
    const to = targets[key];
    if (to === undefined) return false;
    if (to >= 0 && to < this.#page.length) this.#pick(to, true);
    return true;
  }

  /** @param {ReviewImage[]} images */
  #turn(images) {
    this.#page = images;
    this.#at = 0;
    this.#hadFocus ||= this.#hasFocus();
    this.#list?.remove();
    this.#list = null;
  }

  #build() {
    const list = h(
      "div",
      { class: "grid", role: "listbox", "aria-label": "Images to judge", "aria-orientation": "horizontal" },
      this.#page.map((image, index) =>
        h(
          "div",
          {
            class: "tile",
            role: "option",
            tabindex: -1,
            "data-record": image.record,
            onclick: () => this.#pick(index, true),
          },
          this.#picture(image),
          h("span", { class: "tile-foot small" }),
        ),
      ),
    );
    this.#list = list;
    this.#stage.replaceChildren(list);
    if (this.#hadFocus) tileAt(list, this.#at)?.focus();
    this.#hadFocus = false;
    return list;
  }

  /** @param {ReviewImage} image */
  #picture(image) {
    const picture = h("img", { alt: "", width: 256, height: 256, onchange: () => this.#onChoose() });
    load(picture, image.image);
    return picture;
  }

  /**
   * @param {Element} tile
   * @param {number} index
   * @param {string | undefined} choice
   * @param {boolean} hidden
   */
  #paint(tile, index, choice, hidden) {
    const image = this.#page[index];
    const isChosen = index === this.#at;
    tile.setAttribute("tabindex", isChosen ? "0" : "-1");
    tile.setAttribute("aria-selected", String(isChosen));
    tile.setAttribute("data-choice", choice ?? "");
    const answer = hidden && !choice ? "answer hidden" : describe(image);
    const verdict = choice ? `${words(choice)}; the model: ` : "";
    tile.setAttribute("aria-label", `Image ${index + 1} of ${this.#page.length}: ${verdict}${answer}`);
    const model = hidden ? "–" : `${probability(image.glasses_probability, image.band)} ${outcome(image.reason)}`;
    const text = choice ? words(choice) : (fault(tile) ?? model);
    const foot = tile.lastElementChild;
    if (foot && foot.textContent !== text) foot.textContent = text;
  }

  /**
   * @param {number} at
   * @param {boolean} [focus]
   */
  #pick(at, focus = this.#hasFocus()) {
    this.#at = at;
    this.#onChoose();
    if (focus) tileAt(this.#list, at)?.focus();
  }

  /** @param {(image: ReviewImage) => boolean} isJudged */
  #next(isJudged) {
    const after = this.#page.findIndex((image, index) => index > this.#at && !isJudged(image));
    if (after >= 0) return after;
    return Math.max(
      0,
      this.#page.findIndex((image) => !isJudged(image)),
    );
  }

  #hasFocus() {
    return this.#list?.contains(document.activeElement) ?? false;
  }

  #columns() {
    return this.#list ? getComputedStyle(this.#list).gridTemplateColumns.split(" ").length : 1;
  }
}

/**
 * Why the tile shows no picture, or null.
 *
 * @param {Element} tile
 */
function fault(tile) {
  const picture = tile.querySelector("img");
  if (!picture || isLoaded(picture)) return null;
  if (isDeleted(picture)) return "no preview: skip";
  return picture.complete ? "not loaded yet" : "loading";
}

/**
 * @param {Element | null} list
 * @param {number} index
 */
function tileAt(list, index) {
  return /** @type {HTMLElement | undefined} */ (list?.children[index]);
}

function size() {
  return NARROW.matches ? 12 : 24;
}
