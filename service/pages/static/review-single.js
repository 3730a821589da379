// One image at a time, as large as the window allows.

import { h, say } from "./dom.js";
import { facts, isHidden } from "./review-facts.js";
import { isDeleted, isLoaded } from "./review-picture.js";

/** @import { AnswerVisibility, ReviewImage } from "../types" */
/** @import { ReviewSession } from "./review-session.js" */

const DELETED = "The preview has been deleted. Skip this image.";
const FAILED = "The preview cannot be loaded. The page tries again, or skip this image.";
const LOADING = "The preview is loading: a verdict needs it.";

export class Single {
  #stage;
  /** @type {string | null} */
  #shown = null;

  /** @param {Element} stage */
  constructor(stage) {
    this.#stage = stage;
  }

  /**
   * The image that the next verdict applies to.
   *
   * @param {ReviewSession} review
   */
  chosen(review) {
    return review.images[0] ?? null;
  }

  /**
   * Draw; returns whether there is an image.
   *
   * @param {ReviewSession} review
   * @param {AnswerVisibility} answer
   */
  draw(review, answer) {
    const image = this.chosen(review);
    if (!image) return this.clear();
    const hidden = isHidden(image, answer);
    const key = `${image.record} ${hidden}`;
    if (key !== this.#shown) {
      this.#shown = key;
      this.#stage.replaceChildren(
        h("div", { class: "single" }, frame(review.picture(image), image), facts(image, hidden)),
      );
    }
    return true;
  }

  clear() {
    this.#shown = null;
    return false;
  }

  /**
   * Whether the reviewer can see this image.
   *
   * @param {ReviewImage} image
   * @param {ReviewSession} review
   */
  isSeen(image, review) {
    return isLoaded(review.picture(image));
  }

  choose() {}

  advance() {}

  move() {
    return false;
  }
}

/**
 * @param {HTMLImageElement} picture
 * @param {ReviewImage} image
 */
function frame(picture, image) {
  picture.alt = "Portrait for review";
  picture.className = "portrait";
  const caption = h("figcaption", { class: "soft small" });
  const show = () => {
    caption.hidden = isLoaded(picture);
    say(caption, fault(picture));
  };
  picture.onchange = show;
  show();
  return h("figure", { class: "frame", "data-record": image.record }, picture, caption);
}

/** @param {HTMLImageElement} picture */
function fault(picture) {
  if (isLoaded(picture)) return "";
  if (isDeleted(picture)) return DELETED;
  return picture.complete ? FAILED : LOADING;
}
