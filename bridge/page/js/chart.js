// Charts as SVG: a line without axes to stand beside a figure, and one with axes that can be read out.

import { h, replace, svg } from "./dom.js";
import { areaPath, axis, linePath, lonePath, readable, summary, tickText, timeTicks } from "./scale.js";

/** Units of a sparkline's drawing, which is stretched to its place. */
const SPARK = { width: 120, height: 32 };
/** Pixels around the plot of a chart, for what its axes say. */
const MARGIN = { top: 10, right: 8, bottom: 22 };
/** Pixels of a character at an axis, and how many there are between two marks at least. */
const TICK = { character: 6.3, apart: 36, timesApart: 64 };
const HOUR = 3600;
/** Seconds that a chart shows at least; what is known for longer fills it, until it has its whole span. */
const LEAST_SPAN = 600;

/**
 * A small line without axes. Its `update(values, options)` shows other values.
 * @param {(number|null)[]} values oldest first; null is unknown and leaves a gap
 * @param {{label: string, max?: number, unit?: string}} options what it shows; a value that it has room for in any case;
 *   the unit for those who do not see it
 * @returns {SVGElement & {update: Function}}
 */
export function sparkline(values, options) {
  const area = svg("path", { class: "spark-area" });
  const line = svg("path", { class: "spark-line", "vector-effect": "non-scaling-stroke" });
  const lone = svg("path", { class: "chart-lone", "vector-effect": "non-scaling-stroke" });
  const attributes = { class: "sparkline", role: "img", preserveAspectRatio: "none" };
  const element = svg("svg", { ...attributes, viewBox: `0 0 ${SPARK.width} ${SPARK.height}` }, area, line, lone);
  element.update = (values, { label, max = 0, unit = "/s" } = options) => {
    const found = summary(values);
    const top = Math.max(found?.highest ?? 0, max) || 1;
    const x = (index) => (values.length < 2 ? 0 : (index / (values.length - 1)) * SPARK.width);
    const y = (value) => SPARK.height - 1.5 - (value / top) * (SPARK.height - 4);
    area.setAttribute("d", areaPath(values, x, y));
    line.setAttribute("d", linePath(values, x, y));
    lone.setAttribute("d", lonePath(values, x, y));
    element.setAttribute("aria-label", `${label}: ${described(found, unit)}`);
  };
  element.update(values, options);
  return element;
}

/**
 * A chart over time with axes, the values of one moment in its legend (the last, or the one that is pointed at or chosen
 * with the arrow keys), and a table of lowest, highest and mean for those who do not see it. It fills the width it is
 * given; its `update(data)` shows other values.
 * @param {object} data
 * @param {{name: string, values: (number|null)[]}[]} data.series oldest first, null is unknown; all of the same length
 * @param {number} data.interval seconds between two values
 * @param {string} data.end the time of the last value, RFC 3339
 * @param {string} [data.unit] "/s", "%", "B" (bytes) or what else stands behind a value
 * @param {string} data.label what it shows
 * @param {number} [data.span] how many seconds it shows at most, an hour if not said
 * @param {number} [data.max] a value that it has room for in any case
 * @returns {HTMLElement & {update: Function}}
 */
export function chart(data) {
  const plot = svg("svg", { role: "img", class: "chart-lines" });
  const reader = h("div", { class: "chart-reader", role: "slider", tabindex: "0" });
  const legend = h("div", { class: "chart-legend" });
  const table = h("div", { class: "visually-hidden" });
  const element = h("div", { class: "chart" }, legend, h("div", { class: "chart-plot" }, plot, reader), table);
  const view = new View(data, plot, reader, legend, table);
  element.update = (data) => view.update(data);
  return element;
}

/** What a chart shows at present. */
class View {
  constructor(data, plot, reader, legend, table) {
    Object.assign(this, { plot, reader, legend, table, width: 0, height: 0, chosen: null });
    reader.addEventListener("pointermove", (event) => this.point(event));
    reader.addEventListener("pointerdown", (event) => this.point(event));
    reader.addEventListener("pointerleave", () => this.choose(null));
    reader.addEventListener("keydown", (event) => this.press(event));
    reader.addEventListener("blur", () => this.choose(null));
    this.update(data);
    const resized = ([entry]) => this.resize(entry.contentRect);
    new ResizeObserver(resized).observe(plot);
  }

  update(data) {
    const before = this.chosen === null ? null : this.time(this.chosen);
    this.data = { unit: "", span: HOUR, max: 0, ...data };
    this.count = Math.max(0, ...data.series.map((series) => series.values.length));
    this.end = Date.parse(data.end);
    this.span = this.known();
    this.first = Math.max(0, Math.ceil(this.count - 1 - this.span / data.interval));
    // Whoever reads a moment keeps reading it while new values come in.
    this.chosen = before === null ? null : this.nearest(before);
    replace(this.table, this.facts());
    this.reader.setAttribute("aria-label", `Moment of: ${data.label}`);
    this.plot.setAttribute("aria-label", this.words());
    this.draw();
  }

  resize({ width, height }) {
    if (width === this.width && height === this.height) return;
    Object.assign(this, { width, height });
    this.draw();
  }

  /** When a value was, in milliseconds. */
  time(index) {
    return this.end - (this.count - 1 - index) * this.data.interval * 1000;
  }

  /** How many seconds there is something to show of. */
  known() {
    const { series, span, interval } = this.data;
    const firsts = series.map(({ values }) => values.findIndex((value) => value !== null)).filter((index) => index >= 0);
    const since = firsts.length ? (this.count - 1 - Math.min(...firsts)) * interval : 0;
    return Math.min(span, Math.max(since, LEAST_SPAN));
  }

  nearest(time) {
    const index = this.count - 1 - Math.round((this.end - time) / (this.data.interval * 1000));
    return this.within(index);
  }

  /** The value that is shown next to this one. */
  within(index) {
    return Math.min(Math.max(index, this.first), this.count - 1);
  }

  draw() {
    const { series, unit, max } = this.data;
    if (this.width === 0) return this.choose(this.chosen);
    const highest = Math.max(max, ...series.map(({ values }) => summary(values)?.highest ?? 0));
    const room = this.height - MARGIN.top - MARGIN.bottom;
    const { top, ticks } = axis(highest, { most: Math.max(2, Math.floor(room / TICK.apart)), isBinary: unit === "B" });
    this.left = 12 + TICK.character * Math.max(...ticks.map((tick) => tickText(tick, unit).length));
    const right = this.width - MARGIN.right;
    this.xOf = (time) => right - ((this.end - time) / (this.span * 1000)) * (right - this.left);
    this.x = (index) => this.xOf(this.time(index));
    this.y = (value) => MARGIN.top + (1 - value / top) * room;
    this.plot.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.cursor = svg("g", { class: "chart-cursor" });
    const times = timeTicks(this.end - this.span * 1000, this.end, Math.max(2, Math.floor(this.width / TICK.timesApart)));
    replace(
      this.plot,
      ticks.map((tick) => this.level(tick, right)),
      times.map((time) => this.moment(time)),
      series.map(({ values }, index) => this.line(values, index)),
      this.cursor,
    );
    this.choose(this.chosen);
  }

  level(value, right) {
    // Lines between two pixels would be two blurred ones.
    const y = Math.round(this.y(value)) + 0.5;
    const text = tickText(value, this.data.unit);
    return [
      svg("line", { class: value === 0 ? "chart-base" : "chart-grid", x1: this.left, x2: right, y1: y, y2: y }),
      svg("text", { class: "chart-tick", x: this.left - 8, y: y + 3.5, "text-anchor": "end" }, text),
    ];
  }

  moment(time) {
    const x = this.xOf(time);
    // At the edges the text would be cut.
    if (x < this.left + 4 || x > this.width - 18) return null;
    return svg("text", { class: "chart-tick", x, y: this.height - 5, "text-anchor": "middle" }, clock(time, false));
  }

  line(values, index) {
    return svg(
      "g",
      { class: `series series-${index + 1}` },
      svg("path", { class: "chart-area", d: areaPath(values, this.x, this.y) }),
      svg("path", { class: "chart-line", d: linePath(values, this.x, this.y) }),
      svg("path", { class: "chart-lone", d: lonePath(values, this.x, this.y) }),
    );
  }

  point(event) {
    if (this.count === 0 || !this.x) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    const perValue = this.count < 2 ? 1 : this.x(1) - this.x(0);
    this.choose(this.within(Math.round((x - this.x(0)) / perValue)));
  }

  press(event) {
    const last = this.count - 1;
    const at = this.chosen ?? last;
    const back = { ArrowLeft: at - 1, ArrowDown: at - 1, PageDown: at - 10, Home: this.first };
    const forth = { ArrowRight: at + 1, ArrowUp: at + 1, PageUp: at + 10, End: last };
    const to = { ...back, ...forth }[event.key];
    if (to === undefined || this.count === 0) return;
    event.preventDefault();
    this.choose(this.within(to));
  }

  /** Shows the values of one moment; null is the last. */
  choose(index) {
    this.chosen = index;
    const at = index ?? this.count - 1;
    const { series, unit, interval } = this.data;
    const time = this.count === 0 ? "no values yet" : index === null ? "now" : clock(this.time(at), interval < 60);
    const values = series.map(({ name, values }) => ({ name, value: readable(values[at], unit) }));
    const key = ({ name, value }, number) =>
      h("span", { class: `chart-key series-${number + 1}` }, h("span", { class: "chart-name" }, name), " ", h("b", null, value));
    replace(this.legend, values.map(key), h("span", { class: "chart-time" }, time));
    const words = values.map(({ name, value }) => `${name} ${value}`).join(", ");
    this.reader.setAttribute("aria-valuemin", 0);
    this.reader.setAttribute("aria-valuemax", Math.max(this.count - 1, 0));
    this.reader.setAttribute("aria-valuenow", Math.max(at, 0));
    this.reader.setAttribute("aria-valuetext", `${time}: ${words}`);
    this.mark(index);
  }

  mark(index) {
    if (!this.cursor) return;
    if (index === null || this.count === 0) return replace(this.cursor);
    const x = Math.round(this.x(index)) + 0.5;
    const dot = ({ values }, number) => {
      if ((values[index] ?? null) === null) return null;
      return svg("circle", { class: `chart-dot series-${number + 1}`, cx: x, cy: this.y(values[index]), r: 3.5 });
    };
    const line = svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: this.height - MARGIN.bottom });
    replace(this.cursor, line, this.data.series.map(dot));
  }

  words() {
    const { label, series, unit } = this.data;
    return `${label}. ${series.map(({ name, values }) => `${name}: ${described(summary(values), unit)}`).join(". ")}`;
  }

  facts() {
    const { label, series, unit } = this.data;
    const row = ({ name, values }) => {
      const found = summary(values);
      const cells = ["last", "lowest", "highest", "mean"].map((of) => h("td", null, readable(found?.[of], unit)));
      return h("tr", null, h("th", { scope: "row" }, name), cells);
    };
    const heads = ["Now", "Lowest", "Highest", "Mean"].map((of) => h("th", { scope: "col" }, of));
    const head = h("thead", null, h("tr", null, h("td", null), heads));
    return h("table", null, h("caption", null, label), head, h("tbody", null, series.map(row)));
  }
}

function described(found, unit) {
  if (!found) return "no values yet";
  return `now ${readable(found.last, unit)}, between ${readable(found.lowest, unit)} and ${readable(found.highest, unit)}`;
}

function clock(time, withSeconds) {
  const parts = { hour: "2-digit", minute: "2-digit", ...(withSeconds && { second: "2-digit" }), hourCycle: "h23" };
  return new Date(time).toLocaleTimeString([], parts);
}
