// Draws the reject rate by reason (stacked) above the throughput over time; a cursor follows pointer and keys.

import { canvas, horizontal, LEFT, linear, RIGHT, roundUp } from "./axes.js";
import { svg } from "./dom.js";
import { clock, count, percent } from "./format.js";
import { REASONS, readOut } from "./series.js";

/** @import { Point, Span } from "../types" */
/** @import { Scale } from "./axes.js" */

const TOP = 26;
const REJECT = 128;
const BETWEEN = 46;
const THROUGHPUT = 84;
const BOTTOM = 22;
const HEIGHT = TOP + REJECT + BETWEEN + THROUGHPUT + BOTTOM;

export class TimeChart {
  /** @type {HTMLElement} */
  #place;
  /** @type {(point: Point | null) => void} */
  #onRead;
  /** @type {Point[]} */
  #points = [];
  /** @type {Pick<Span, "now" | "span" | "changes">} */
  #span = { now: 0, span: 900, changes: [] };
  /** @type {number | null} */
  #chosen = null;

  /**
   * @param {HTMLElement} place
   * @param {(point: Point | null) => void} onRead receives the point under the cursor, or null
   */
  constructor(place, onRead) {
    this.#place = place;
    this.#onRead = onRead;
    new ResizeObserver(() => this.#draw()).observe(place);
    place.addEventListener("pointermove", (event) => this.#choose(this.#nearest(event)));
    place.addEventListener("pointerleave", () => this.#choose(null));
    place.addEventListener("keydown", (event) => this.#press(event));
    place.addEventListener("blur", () => this.#choose(null));
  }

  /**
   * @param {Point[]} points
   * @param {Pick<Span, "now" | "span" | "changes">} span
   */
  show(points, span) {
    // The cursor stays at its time while the points move.
    const time = this.#cursorPoint()?.time;
    this.#points = points;
    this.#span = span;
    const found = time === undefined ? -1 : points.findIndex((point) => point.time >= time - 0.01);
    this.#chosen = found < 0 ? null : found;
    this.#draw();
    this.#announce();
  }

  #cursorPoint() {
    return this.#chosen === null ? undefined : this.#points[this.#chosen];
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    const last = this.#points.length - 1;
    const from = this.#chosen ?? last;
    const steps = { ArrowLeft: from - 1, ArrowRight: from + 1, ArrowDown: from - 1, ArrowUp: from + 1 };
    const jumps = { Home: 0, End: last, PageDown: from - 12, PageUp: from + 12 };
    /** @type {Record<string, number>} */
    const targets = { ...steps, ...jumps };
    const wanted = targets[event.key];
    if (event.key === "Escape") this.#choose(null);
    if (wanted === undefined || last < 0) return;
    event.preventDefault();
    this.#choose(Math.min(last, Math.max(0, this.#chosen === null && event.key === "ArrowLeft" ? last : wanted)));
  }

  /** @param {number | null} index */
  #choose(index) {
    if (index === this.#chosen) return;
    this.#chosen = index;
    this.#draw();
    this.#announce();
  }

  #announce() {
    const last = this.#points.length - 1;
    const index = this.#chosen ?? last;
    const point = this.#points[index];
    this.#place.setAttribute("aria-valuemax", String(Math.max(0, last)));
    this.#place.setAttribute("aria-valuenow", String(Math.max(0, index)));
    this.#place.setAttribute("aria-valuetext", point ? readOut(point) : "no data yet");
    this.#onRead(this.#chosen === null ? null : point);
  }

  /** @param {PointerEvent} event */
  #nearest(event) {
    if (!this.#points.length) return null;
    const x = event.clientX - this.#place.getBoundingClientRect().left;
    const distances = this.#points.map((point) => Math.abs(this.#x()(point.time) - x));
    return distances.indexOf(Math.min(...distances));
  }

  #x() {
    const { now, span } = this.#span;
    return linear(now - span, now, LEFT, this.#place.clientWidth - RIGHT);
  }

  #draw() {
    if (!this.#place.clientWidth) return;
    const width = this.#place.clientWidth;
    const top = Math.min(1, roundUp(Math.max(...this.#points.map((point) => point.rejected ?? 0), 0), 0.05));
    const most = roundUp(Math.max(...this.#points.map((point) => point.perSecond), 0), 1);
    const y = linear(0, top, TOP + REJECT, TOP);
    const base = TOP + REJECT + BETWEEN + THROUGHPUT;
    const v = linear(0, most, base, base - THROUGHPUT);
    const inside = this.#points.filter((point) => point.time > this.#span.now - this.#span.span);
    this.#place.replaceChildren(
      canvas(
        this.#place,
        HEIGHT,
        { "aria-hidden": "true" },
        title(this.#span.span > 900 ? "Reject rate" : "Reject rate, 30 s window", 11),
        [0, top / 2, top].map((at) => horizontal(y(at), width, percent(at, top < 0.1 && at ? 1 : 0))),
        ...this.#areas(inside, y),
        title("Images/s", base - THROUGHPUT - 15),
        [0, most].map((at) => horizontal(v(at), width, count(at))),
        ...this.#throughput(inside, v),
        this.#times(width),
        this.#changes(),
        this.#cursor(y, v),
      ),
    );
  }

  /**
   * @param {Point[]} points
   * @param {Scale} y
   */
  #areas(points, y) {
    const x = this.#x();
    return REASONS.map((reason, index) => {
      /** @param {Point} point */
      const low = (point) => point.shares.slice(0, index).reduce((all, share) => all + share, 0);
      const paths = runs(points).map((run) => {
        const upper = run.map((point) => `${x(point.time)},${y(low(point) + point.shares[index])}`);
        const lower = run.map((point) => `${x(point.time)},${y(low(point))}`).reverse();
        return `M${[...upper, ...lower].join("L")}Z`;
      });
      return svg("path", { class: `area--${reason}`, d: paths.join("") });
    });
  }

  /**
   * @param {Point[]} points
   * @param {Scale} v
   */
  #throughput(points, v) {
    if (!points.length) return [];
    const x = this.#x();
    const line = points.map((point) => `${x(point.time)},${v(point.perSecond)}`).join("L");
    const [first, last] = [points[0], points[points.length - 1]];
    const area = `M${x(first.time)},${v(0)}L${line}L${x(last.time)},${v(0)}Z`;
    return [
      svg("path", { class: "area--throughput", d: area }),
      svg("path", { class: "line--throughput", d: `M${line}` }),
    ];
  }

  /** @param {number} width */
  #times(width) {
    const x = this.#x();
    const { now, span } = this.#span;
    const step = span / (width < 480 ? 3 : 5);
    const first = Math.ceil((now - span) / step) * step;
    const ticks = Array.from({ length: span / step + 1 }, (_, index) => first + index * step);
    const shown = ticks.filter((time) => time <= now && x(time) > LEFT + 12 && x(time) < width - 24);
    /** @param {number} time */
    const label = (time) =>
      svg("text", { x: x(time), y: HEIGHT - 5, "text-anchor": "middle" }, clock(time * 1000).slice(0, 5));
    return svg("g", {}, shown.map(label));
  }

  /** Lines where another version took over; labels that would overlap an earlier one are left out. */
  #changes() {
    const x = this.#x();
    let free = 0;
    return svg(
      "g",
      {},
      this.#span.changes
        .filter(({ time }) => x(time) >= LEFT)
        .map(({ time, version }) => {
          const at = x(time);
          const text = `version ${version.slice(0, 16)}`;
          const isFree = at - text.length * 6.5 > free;
          if (isFree) free = at;
          return svg(
            "g",
            { class: "change" },
            svg("title", {}, `version ${version} from ${clock(time * 1000)}`),
            svg("line", { x1: at, x2: at, y1: TOP - 6, y2: HEIGHT - BOTTOM }),
            isFree ? svg("text", { x: at - 4, y: TOP + 3, "text-anchor": "end" }, text) : null,
          );
        }),
    );
  }

  /**
   * @param {Scale} y
   * @param {Scale} v
   */
  #cursor(y, v) {
    const point = this.#cursorPoint();
    if (!point) return null;
    const x = this.#x()(point.time);
    const heights = [v(point.perSecond), ...(point.rejected === null ? [] : [y(point.rejected)])];
    return svg(
      "g",
      {},
      svg("line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }),
      heights.map((height) => svg("circle", { class: "cursor-dot", cx: x, cy: height, r: 3.5 })),
    );
  }
}

/**
 * @param {string} text
 * @param {number} y
 */
function title(text, y) {
  return svg("text", { class: "strong", x: 0, y }, text);
}

/**
 * Runs of consecutive points with a reject rate. Each run begins at the start of its first step, so that a single
 * point has a width.
 *
 * @param {Point[]} points
 */
function runs(points) {
  /** @type {Point[][]} */
  const found = [];
  /** @type {Point | undefined} */
  let before;
  for (const point of points) {
    if (point.rejected !== null) {
      if (!before || before.rejected === null) found.push(before ? [{ ...point, time: before.time }] : []);
      found[found.length - 1].push(point);
    }
    before = point;
  }
  return found.filter((run) => run.length > 1);
}
