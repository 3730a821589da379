// The queue of unsaved steps: sent in order, one at a time, and retried until the service responds.

import { statusOf } from "./api.js";

/** @import { Step } from "../types" */

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;
// Temporary failures: the request itself is valid and can be sent again. 0 is a failed connection, 401 an ended session.
const TEMPORARY = new Set([0, 401, 408, 429, 500, 502, 503, 504]);

export class Outbox {
  /** @type {Step[]} */
  #waiting = [];
  #isSending = false;
  #wait = FIRST_WAIT;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #timer = null;
  #send;
  #onChange;
  #onRefused;

  /**
   * `onRefused` receives each step that the service refused for good.
   *
   * @param {{
   *   send: (step: Step) => Promise<unknown>,
   *   onChange: () => void,
   *   onRefused: (step: Step, error: unknown) => void,
   * }} callbacks
   */
  constructor({ send, onChange, onRefused }) {
    this.#send = send;
    this.#onChange = onChange;
    this.#onRefused = onRefused;
    /** @type {unknown} */
    this.error = null;
  }

  get size() {
    return this.#waiting.length;
  }

  /** The records of all unsaved steps. */
  get records() {
    return new Set(this.#waiting.map(({ image }) => image.record));
  }

  /** @param {Step} step */
  add(step) {
    this.#waiting.push(step);
    this.#onChange();
    this.#sendNext();
  }

  /**
   * Remove a step that has not been sent; returns whether that was possible.
   *
   * @param {Step} step
   */
  cancel(step) {
    const at = this.#waiting.indexOf(step);
    if (at < 0 || (at === 0 && this.#isSending)) return false;
    this.#waiting.splice(at, 1);
    if (this.#waiting.length === 0) this.error = null;
    this.#onChange();
    return true;
  }

  /** Send the waiting steps without further delay. */
  retryNow() {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#sendNext();
  }

  async #sendNext() {
    if (this.#isSending || this.#timer !== null || this.#waiting.length === 0) return;
    this.#isSending = true;
    const step = this.#waiting[0];
    try {
      await this.#send(step);
      this.#done();
    } catch (error) {
      if (TEMPORARY.has(statusOf(error))) this.#retryLater(error);
      else {
        this.#done();
        this.#onRefused(step, error);
      }
    }
    this.#isSending = false;
    this.#onChange();
    this.#sendNext();
  }

  #done() {
    this.#waiting.shift();
    this.#wait = FIRST_WAIT;
    this.error = null;
  }

  /** @param {unknown} error */
  #retryLater(error) {
    this.error = error;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#sendNext();
    }, this.#wait);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
  }
}
