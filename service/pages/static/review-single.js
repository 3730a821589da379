// One image after the other, as large as there is room.

import { h } from "./dom.js";
import { facts, isHidden } from "./review-facts.js";

export class Single {
  #stage;
  #shown = null;

  constructor(stage) {
    this.#stage = stage;
  }

  // The image that a verdict is about.
  chosen(sitting) {
    return sitting.images[0] ?? null;
  }

  // Whether there is anything to see.
  draw(sitting, { answer }) {
    const image = this.chosen(sitting);
    if (!image) return this.clear();
    const hidden = isHidden(image, answer);
    const key = `${image.record} ${hidden}`;
    if (key !== this.#shown) {
      this.#shown = key;
      this.#stage.replaceChildren(h("div", { class: "single" }, frame(sitting.picture(image), image), facts(image, hidden)));
    }
    return true;
  }

  clear() {
    this.#shown = null;
    return false;
  }

  choose() {}

  move() {
    return false;
  }
}

function frame(picture, image) {
  picture.alt = "A portrait to judge";
  picture.className = "portrait";
  const lost = h("figcaption", { class: "soft small", hidden: true }, "The picture is not kept any more. Skip it.");
  picture.onerror = () => {
    lost.hidden = false;
  };
  if (picture.complete && picture.naturalWidth === 0) lost.hidden = false;
  return h("figure", { class: "frame", "data-record": image.record }, picture, lost);
}
