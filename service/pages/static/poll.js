// Does something again and again: not in a hidden tab, and ever more rarely while it fails.

const INTERVAL = 2_000;
const LONGEST = 30_000;

export class Poll {
  #work;
  #timer = null;
  #running = false;
  #failures = 0;

  // `work` is given a signal that ends it when it takes too long; it tells by throwing that it failed.
  constructor(work) {
    this.#work = work;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.now()));
  }

  pause() {
    clearTimeout(this.#timer);
  }

  async now() {
    this.pause();
    if (this.#running) return;
    this.#running = true;
    try {
      await this.#work(AbortSignal.timeout(10_000));
      this.#failures = 0;
    } catch {
      this.#failures += 1;
    }
    this.#running = false;
    if (!document.hidden) this.#timer = setTimeout(() => this.now(), this.#delay());
  }

  #delay() {
    return Math.min(LONGEST, INTERVAL * 2 ** this.#failures);
  }
}
