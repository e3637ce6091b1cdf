// Numbers to places and words: what charts need and knows no document.

import { bytes } from "./format.js";

/** Made once: each one takes as long as hundreds of numbers. */
const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const MINUTE = 60_000;
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440].map((minutes) => minutes * MINUTE);

/**
 * The marks of an axis that begins at 0 and holds `highest`.
 * @param {number} highest
 * @param {{most?: number, isBinary?: boolean}} [options] at most how many steps; steps of powers of two, for bytes
 * @returns {{top: number, ticks: number[]}}
 */
export function axis(highest, { most = 4, isBinary = false } = {}) {
  if (highest <= 0) return { top: 1, ticks: [0, 1] };
  const least = highest / most;
  const step = isBinary ? 2 ** Math.ceil(Math.log2(least)) : roundedUp(least);
  const steps = Math.max(1, Math.ceil(highest / step - 1e-9));
  // Digits that binary fractions bring along would be shown: 0.30000000000000004.
  const ticks = Array.from({ length: steps + 1 }, (_, index) => Number((index * step).toPrecision(12)));
  return { top: ticks[steps], ticks };
}

/**
 * What stands at a mark of an axis: as short as it can be.
 * @param {number} value
 * @param {string} unit as for `readable`
 */
export function tickText(value, unit) {
  if (unit !== "B") return readable(value, unit === "%" ? unit : "");
  const power = value < 1024 ? 0 : Math.floor(Math.log2(value) / 10);
  return `${Number((value / 1024 ** power).toPrecision(3))}\u202f${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

function roundedUp(value) {
  const power = 10 ** Math.floor(Math.log10(value) + 1e-9);
  const factor = [1, 2, 5, 10].find((factor) => value <= factor * power * (1 + 1e-9));
  return factor * power;
}

/**
 * Round times between two, as far apart as there is room for.
 * @param {number} from in milliseconds
 * @param {number} to in milliseconds
 * @param {number} most at most so many
 * @returns {number[]}
 */
export function timeTicks(from, to, most) {
  const step = TIME_STEPS.find((step) => (to - from) / step <= most) ?? TIME_STEPS.at(-1);
  // Round by the clock on the wall, which need not be round in UTC.
  const zone = new Date(to).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let tick = Math.ceil((from - zone) / step) * step + zone; tick <= to; tick += step) ticks.push(tick);
  return ticks;
}

/**
 * The `d` of a line through values; where one is null, the line is interrupted.
 * @param {(number|null)[]} values
 * @param {(index: number) => number} x
 * @param {(value: number) => number} y
 */
export function linePath(values, x, y) {
  return runs(values).map((run) => lineOf(run, values, x, y)).join("");
}

/** The `d` of what lies between that line and 0. Takes the same as `linePath`. */
export function areaPath(values, x, y) {
  const area = (run) =>
    `${lineOf(run, values, x, y)}L${short(x(run.last))} ${short(y(0))}L${short(x(run.first))} ${short(y(0))}Z`;
  return runs(values).map(area).join("");
}

/** The `d` of the values that stand alone, as a line would not show them: dots, which round ends make of hardly any length. */
export function lonePath(values, x, y) {
  const lone = runs(values).filter(({ first, last }) => first === last);
  return lone.map((run) => `${lineOf(run, values, x, y)}h.01`).join("");
}

/** Where values stand one after the other, from the first to the last. */
function runs(values) {
  const found = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (found.at(-1)?.last === index - 1) found.at(-1).last = index;
    else found.push({ first: index, last: index });
  });
  return found;
}

function lineOf({ first, last }, values, x, y) {
  let path = "";
  for (let index = first; index <= last; index++) {
    path += `${index === first ? "M" : "L"}${short(x(index))} ${short(y(values[index]))}`;
  }
  return path;
}

function short(number) {
  return Math.round(number * 100) / 100;
}

/**
 * What a reader who sees no line wants to know of it.
 * @param {(number|null)[]} values
 * @returns {{last: number|null, lowest: number, highest: number, mean: number}|null} null if nothing is known
 */
export function summary(values) {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return null;
  return {
    last: values.at(-1),
    lowest: known.reduce((low, value) => Math.min(low, value)),
    highest: known.reduce((high, value) => Math.max(high, value)),
    mean: known.reduce((sum, value) => sum + value) / known.length,
  };
}

/**
 * A value in three digits and its unit: "12.3 k/s". "B" is bytes; null is a dash.
 * @param {number|null|undefined} value
 * @param {string} [unit]
 */
export function readable(value, unit = "") {
  if (value === null || value === undefined) return "–";
  if (unit === "B") return bytes(value);
  const [factor, prefix] = value >= 1e6 ? [1e6, "M"] : value >= 1e4 ? [1e3, "k"] : [1, ""];
  const number = NUMBER.format(Number((value / factor).toPrecision(3)));
  if (value > 0 && value < 0.005) return `<0.01${unit}`;
  // No break between number and prefix.
  return `${number}${prefix && `\u202f${prefix}`}${unit === "%" ? "\u202f%" : unit}`;
}
