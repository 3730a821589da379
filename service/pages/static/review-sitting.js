// One reviewer's sitting: the images at hand, what was said of which, and the way back.

import { ApiError, api } from "./api.js";
import { Outbox } from "./review-outbox.js";

const LOW = 12; // Fewer at hand than this, and more are asked for,
const ENOUGH = 30; // so that there are this many.
const MOST = 100; // The service keeps no more for one reviewer at a time.
const READY = 4; // Pictures that are decoded before they are shown.
const RENEW_MS = 120_000;
const IDLE_MS = 600_000; // Who does nothing for so long leaves the images to others.

export class Sitting {
  #history = [];
  #pictures = new Map();
  #request = null;
  #turn = 0;
  #active = Date.now();
  #renewal;
  #onChange;
  #onRefused;

  // `onChange()` after whatever changes; `onRefused(image, text)` where a verdict did not count.
  constructor({ reviewer, kind, onChange, onRefused }) {
    this.reviewer = reviewer;
    this.kind = kind;
    this.images = [];
    this.said = new Map(); // By record: "glasses", "no_glasses", "unclear" or "skipped".
    this.error = null;
    this.isEmpty = false;
    this.#onChange = onChange;
    this.#onRefused = onRefused;
    this.outbox = new Outbox({
      send: (step) => this.#send(step),
      onChange: () => this.#onChange(),
      onRefused: (step, error) => this.#refused(step, error),
    });
    this.#renewal = setInterval(() => this.images.length && Date.now() - this.#active < IDLE_MS && this.fill(true), RENEW_MS);
  }

  stop() {
    clearInterval(this.#renewal);
    this.#onChange = () => {};
  }

  get count() {
    return this.#history.length;
  }

  get last() {
    return this.#history.at(-1);
  }

  // Ask for more where few are left; `always` also to keep what is at hand for longer.
  fill(always = false) {
    if (this.#request || (!always && this.images.length >= LOW)) return this.#request;
    if (this.outbox.size >= MOST - ENOUGH) return null; // These are kept for us still.
    this.#request = this.#claim().finally(() => {
      this.#request = null;
      this.#onChange();
    });
    return this.#request;
  }

  async choose(kind) {
    this.kind = kind;
    await this.#startOver("/v1/review/claims");
  }

  async bringBackSkipped() {
    for (const [record, said] of this.said) if (said === "skipped") this.said.delete(record);
    this.#history = this.#history.filter(({ said }) => said !== "skipped");
    await this.#startOver("/v1/review/skips");
  }

  // Say it of this image: a label, "unclear", or "skipped".
  say(image, said) {
    const before = this.said.get(image.record);
    if (before === said || (before && said === "skipped")) return;
    this.#active = Date.now();
    this.images = this.images.filter((other) => other !== image);
    this.said.set(image.record, said);
    const step = { image, said, before };
    this.#history.push(step);
    this.outbox.add(step);
    this.#prepare();
    this.fill();
  }

  // Take the last step back; returns its image, which is at hand again unless something was said of it before.
  undo() {
    const step = this.#history.pop();
    if (!step) return null;
    const { image, before } = step;
    if (!this.outbox.cancel(step)) {
      this.outbox.add(before ? { image, said: before } : { image, takeBack: step.said });
    }
    if (before) this.said.set(image.record, before);
    else {
      this.said.delete(image.record);
      this.images = [image, ...this.images.filter(({ record }) => record !== image.record)];
      image.isHeld = true;
    }
    this.#onChange();
    return image;
  }

  // A decoded picture of the image.
  picture(image) {
    if (!this.#pictures.has(image.record)) {
      const picture = new Image();
      picture.src = image.image;
      picture.decode().catch(() => {}); // What cannot be loaded is said where it is shown.
      this.#pictures.set(image.record, picture);
    }
    return this.#pictures.get(image.record);
  }

  async #startOver(path) {
    this.#turn += 1;
    this.images = [];
    this.isEmpty = false;
    this.error = null;
    this.#onChange();
    await this.#request;
    try {
      await api(path + this.#who(), { method: "DELETE" });
    } catch {
      // They are kept a while for nothing; what matters is said when others are asked for.
    }
    await this.fill(true);
  }

  async #claim() {
    const turn = this.#turn;
    const pending = this.outbox.records;
    const count = Math.min(MOST, ENOUGH + pending.size);
    try {
      const json = { count, kind: this.kind, ...this.#name() };
      const { images } = await api("/v1/review/claims", { method: "POST", json });
      if (turn !== this.#turn) return;
      this.error = null;
      this.#merge(images);
    } catch (error) {
      if (turn === this.#turn) this.error = error;
    }
  }

  #merge(found) {
    const known = new Map(this.images.map((image) => [image.record, image]));
    const fresh = found.filter(({ record }) => !this.said.has(record));
    // What is kept for us no more was taken by somebody else while we were away.
    const held = this.images.filter((image) => image.isHeld && !fresh.some(({ record }) => record === image.record));
    this.images = [...held, ...fresh.map((image) => known.get(image.record) ?? image)];
    this.isEmpty = this.images.length === 0;
    this.#prepare();
  }

  #prepare() {
    const kept = new Set(this.images.slice(0, READY).map((image) => this.picture(image) && image.record));
    for (const record of this.#pictures.keys()) if (!kept.has(record)) this.#pictures.delete(record);
  }

  #send({ image, said, takeBack }) {
    const path = (said ?? takeBack) === "skipped" ? "skips" : "verdicts";
    const url = `/v1/review/${path}/${image.record}`;
    if (takeBack) return api(url + this.#who(), { method: "DELETE" });
    if (said === "skipped") return api(url, { method: "POST", json: this.#name() });
    return api(url, { method: "PUT", json: { verdict: said, ...this.#name() } });
  }

  #refused({ image }, error) {
    this.#history = this.#history.filter((step) => step.image.record !== image.record);
    this.images = this.images.filter(({ record }) => record !== image.record);
    this.said.set(image.record, "refused");
    this.#onRefused(image, error instanceof ApiError ? error.detail : String(error));
    this.fill();
  }

  #name() {
    return this.reviewer === null ? {} : { reviewer: this.reviewer };
  }

  #who() {
    return this.reviewer === null ? "" : `?reviewer=${encodeURIComponent(this.reviewer)}`;
  }
}
