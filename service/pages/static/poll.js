// Repeats a task at an interval; pauses in a hidden tab and backs off exponentially after failures.

const INTERVAL = 2_000;
const LONGEST = 30_000;

export class Poll {
  /** @type {(signal: AbortSignal) => Promise<void>} */
  #work;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #running = false;
  #failures = 0;

  /** @param {(signal: AbortSignal) => Promise<void>} work aborted by the signal after a timeout; throws on failure */
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
