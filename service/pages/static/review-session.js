// One reviewer's session: the images in hand, the choices so far, and undo.

import { ApiError, api } from "./api.js";
import { Outbox } from "./review-outbox.js";
import { load } from "./review-picture.js";

/** @import { Choice, ClaimedImages, ReviewImage, ReviewKind, Step } from "../types" */

const LOW = 12; // Request more images below this number,
const ENOUGH = 30; // up to this number.
const MAX_CLAIMED = 100; // Limit of the service for one reviewer.
const READY = 4; // Number of previews decoded in advance.
const RENEW_MS = 120_000;
const IDLE_MS = 600_000; // After this time without a choice the claims expire.

export class ReviewSession {
  /** @type {Step[]} */
  #history = [];
  /** @type {Map<string, HTMLImageElement>} */
  #pictures = new Map();
  /** @type {Promise<void> | null} */
  #request = null;
  #turn = 0;
  #active = Date.now();
  #renewal;
  #onChange;
  #onRefused;

  /**
   * `onRefused` receives each image whose verdict the service refused, with the reason.
   *
   * @param {{
   *   reviewer: string,
   *   kind: ReviewKind,
   *   filters: Record<string, string>,
   *   onChange: () => void,
   *   onRefused: (image: ReviewImage, text: string) => void,
   * }} options
   */
  constructor({ reviewer, kind, filters, onChange, onRefused }) {
    this.reviewer = reviewer;
    this.kind = kind;
    this.filters = filters;
    /** @type {ReviewImage[]} */
    this.images = [];
    /** @type {Map<string, Choice | "refused">} */
    this.choices = new Map(); // By record.
    /** @type {unknown} */
    this.error = null;
    this.isEmpty = false;
    this.#onChange = onChange;
    this.#onRefused = onRefused;
    this.outbox = new Outbox({
      send: (step) => this.#send(step),
      onChange: () => this.#onChange(),
      onRefused: (step, error) => this.#refused(step, error),
    });
    this.#renewal = setInterval(() => this.#renew(), RENEW_MS);
  }

  /** End the session; its images are free for the next name. */
  async stop() {
    clearInterval(this.#renewal);
    this.#onChange = () => {};
    await this.#request;
    await this.#release("/v1/review/claims");
  }

  get count() {
    return this.#history.length;
  }

  get last() {
    return this.#history.at(-1);
  }

  /** The number of images with a verdict in this session. */
  get verdicts() {
    return [...this.choices.values()].filter((choice) => choice !== "refused" && choice !== "skipped").length;
  }

  /** The number of images skipped in this session. */
  get skipped() {
    return [...this.choices.values()].filter((choice) => choice === "skipped").length;
  }

  /** Request more images if few are left. */
  fill() {
    if (this.images.length < LOW) this.refresh();
  }

  /** Request more images, and renew the claims on those in hand. */
  refresh() {
    if (this.#request) return this.#request;
    if (this.outbox.size >= MAX_CLAIMED - ENOUGH) return null; // Their claims are still in use.
    this.#request = this.#claim().finally(() => {
      this.#request = null;
      this.#onChange();
    });
    return this.#request;
  }

  /** @param {ReviewKind} kind */
  async choose(kind) {
    this.kind = kind;
    await this.#startOver("/v1/review/claims");
  }

  async bringBackSkipped() {
    for (const [record, choice] of this.choices) if (choice === "skipped") this.choices.delete(record);
    this.#history = this.#history.filter(({ choice }) => choice !== "skipped");
    await this.#startOver("/v1/review/skips");
  }

  /**
   * Give a verdict on an image, or skip it.
   *
   * @param {ReviewImage} image
   * @param {Choice} choice
   */
  judge(image, choice) {
    const before = this.choices.get(image.record);
    if (before === choice || (before && choice === "skipped")) return;
    this.#active = Date.now();
    this.images = this.images.filter((other) => other !== image);
    this.choices.set(image.record, choice);
    const step = { image, choice, before };
    this.#history.push(step);
    this.outbox.add(step);
    this.#prepare();
    this.fill();
  }

  /** Undo the last step; returns its image, which is in hand again unless it had an earlier choice. */
  undo() {
    const step = this.#history.pop();
    if (!step) return null;
    const { image, before } = step;
    const previous = before === "refused" ? undefined : before;
    if (!this.outbox.cancel(step)) {
      this.outbox.add(previous ? { image, choice: previous } : { image, takeBack: step.choice });
    }
    if (previous) this.choices.set(image.record, previous);
    else {
      this.choices.delete(image.record);
      this.images = [image, ...this.images.filter(({ record }) => record !== image.record)];
      image.isHeld = true;
    }
    this.#onChange();
    return image;
  }

  /**
   * The image's preview, decoded or being decoded.
   *
   * @param {ReviewImage} image
   */
  picture(image) {
    const known = this.#pictures.get(image.record);
    if (known) return known;
    const picture = new Image();
    load(picture, image.image);
    picture.decode().catch(() => {}); // The view reports a missing preview.
    this.#pictures.set(image.record, picture);
    return picture;
  }

  #renew() {
    if (this.images.length && Date.now() - this.#active < IDLE_MS) this.refresh();
  }

  /** @param {string} path */
  async #startOver(path) {
    this.#turn += 1;
    this.images = [];
    this.isEmpty = false;
    this.error = null;
    this.#onChange();
    await this.#request;
    await this.#release(path);
    await this.refresh();
  }

  /** @param {string} path */
  async #release(path) {
    try {
      await api(path + this.#query(), { method: "DELETE" });
    } catch {
      // The claims expire by themselves; the next request reports the problem.
    }
  }

  async #claim() {
    const turn = this.#turn;
    const pending = this.outbox.records;
    const count = Math.min(MAX_CLAIMED, ENOUGH + pending.size);
    try {
      const json = { count, kind: this.kind, filters: this.filters, ...this.#name() };
      /** @type {ClaimedImages} */
      const { images } = await api("/v1/review/claims", { method: "POST", json });
      if (turn !== this.#turn) return;
      this.error = null;
      this.#merge(images);
    } catch (error) {
      if (turn === this.#turn) this.error = error;
    }
  }

  /** @param {ReviewImage[]} found */
  #merge(found) {
    const known = new Map(this.images.map((image) => [image.record, image]));
    const fresh = found.filter(({ record }) => !this.choices.has(record));
    // Images missing from the answer have been claimed by another reviewer after our claim expired.
    const held = this.images.filter((image) => image.isHeld && !fresh.some(({ record }) => record === image.record));
    this.images = [...held, ...fresh.map((image) => known.get(image.record) ?? image)];
    this.isEmpty = this.images.length === 0;
    this.#prepare();
  }

  /** Decode the next previews and release the others. */
  #prepare() {
    const next = this.images.slice(0, READY);
    for (const image of next) this.picture(image);
    const kept = new Set(next.map(({ record }) => record));
    for (const record of this.#pictures.keys()) if (!kept.has(record)) this.#pictures.delete(record);
  }

  /** @param {Step} step */
  #send({ image, choice, takeBack }) {
    const path = (choice ?? takeBack) === "skipped" ? "skips" : "verdicts";
    const url = `/v1/review/${path}/${image.record}`;
    if (takeBack) return api(url + this.#query(), { method: "DELETE" });
    if (choice === "skipped") return api(url, { method: "POST", json: this.#name() });
    return api(url, { method: "PUT", json: { verdict: choice, ...this.#name() } });
  }

  /**
   * @param {Step} step
   * @param {unknown} error
   */
  #refused({ image }, error) {
    this.#history = this.#history.filter((step) => step.image.record !== image.record);
    this.images = this.images.filter(({ record }) => record !== image.record);
    this.choices.set(image.record, "refused");
    this.#onRefused(image, error instanceof ApiError ? error.detail : String(error));
    this.fill();
  }

  #name() {
    // Also with a token: after another person has logged in, the service refuses what this one left unsaved.
    return { reviewer: this.reviewer };
  }

  #query() {
    return `?reviewer=${encodeURIComponent(this.reviewer)}`;
  }
}
