// What was decided and is not saved yet: sent one after the other, in order, again and again until it is answered.

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;
// Nothing is wrong with the request itself: it can be sent again.
const PASSING = new Set([0, 408, 429, 500, 502, 503, 504]);

export class Outbox {
  #waiting = [];
  #isSending = false;
  #wait = FIRST_WAIT;
  #timer = null;
  #send;
  #onChange;
  #onRefused;

  // `send(step)` is a promise; `onRefused(step, error)` is told of what was answered with a no.
  constructor({ send, onChange, onRefused }) {
    this.#send = send;
    this.#onChange = onChange;
    this.#onRefused = onRefused;
    this.error = null;
  }

  get size() {
    return this.#waiting.length;
  }

  // Records that are not saved as they are seen here.
  get records() {
    return new Set(this.#waiting.map(({ image }) => image.record));
  }

  add(step) {
    this.#waiting.push(step);
    this.#onChange();
    this.#pump();
  }

  // Forget a step that was not sent yet; whether there was one.
  cancel(step) {
    const at = this.#waiting.indexOf(step);
    if (at < 0 || (at === 0 && this.#isSending)) return false;
    this.#waiting.splice(at, 1);
    this.#onChange();
    return true;
  }

  // Do not wait any longer to try again.
  hurry() {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#pump();
  }

  async #pump() {
    if (this.#isSending || this.#timer !== null || this.#waiting.length === 0) return;
    this.#isSending = true;
    const step = this.#waiting[0];
    try {
      await this.#send(step);
      this.#done();
    } catch (error) {
      if (PASSING.has(error.status ?? 0)) this.#later(error);
      else {
        this.#done();
        this.#onRefused(step, error);
      }
    }
    this.#isSending = false;
    this.#onChange();
    this.#pump();
  }

  #done() {
    this.#waiting.shift();
    this.#wait = FIRST_WAIT;
    this.error = null;
  }

  #later(error) {
    this.error = error;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#pump();
    }, this.#wait);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
  }
}
