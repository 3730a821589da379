// One image at a time, as large as the window allows.

import { h } from "./dom.js";
import { facts, isHidden } from "./review-facts.js";

/** @import { AnswerVisibility, ReviewImage } from "../types" */
/** @import { ReviewSession } from "./review-session.js" */

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
  const lost = h("figcaption", { class: "soft small", hidden: true }, "The preview has been deleted. Skip this image.");
  picture.onerror = () => {
    lost.hidden = false;
  };
  if (picture.complete && picture.naturalWidth === 0) lost.hidden = false;
  return h("figure", { class: "frame", "data-record": image.record }, picture, lost);
}
