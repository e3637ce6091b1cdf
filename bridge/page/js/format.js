// Numbers, sizes and moments as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const ONE = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
/** What is shown in the place of what is not known. */
export const NOTHING = "–";

let skew = 0;

/** @param {string} time what the bridge's clock shows now: ages are by it, not by this machine's */
export function setClock(time) {
  skew = Date.parse(time) - Date.now();
}

/** @returns {number} milliseconds since 1970 by the bridge's clock */
export function now() {
  return Date.now() + skew;
}

/** 1234567 → "1,234,567". @param {number?} n */
export function count(n) {
  return n == null ? NOTHING : WHOLE.format(n);
}

/** 1536 → "1.5 KiB". @param {number?} n bytes */
export function bytes(n) {
  if (n == null) return NOTHING;
  let unit = 0;
  while (n >= 1024 && unit < UNITS.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit === 0 || n >= 100 ? WHOLE.format(n) : ONE.format(n)} ${UNITS[unit]}`;
}

/** 0.25 → "0.3/s", 1234.5 → "1,235/s". @param {number?} n per second */
export function rate(n) {
  return n == null ? NOTHING : `${rateNumber(n)}/s`;
}

/** As `rate`, without the unit. @param {number?} n per second */
export function rateNumber(n) {
  if (n == null) return NOTHING;
  if (n === 0) return "0";
  if (n < 0.05) return "<0.1";
  return n < 9.95 ? ONE.format(n) : WHOLE.format(n);
}

/** 12.34 → "12.3 %". @param {number?} n */
export function percent(n) {
  return n == null ? NOTHING : `${n < 9.95 ? ONE.format(n) : WHOLE.format(n)} %`;
}

/** 93784 → "1 d 2 h". The two largest units. @param {number?} s seconds */
export function duration(s) {
  if (s == null) return NOTHING;
  const seconds = Math.max(0, Math.floor(s));
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(" ");
}

/** One unit of how long it has been: "3 min". @param {string?} time RFC 3339 */
export function age(time) {
  if (time == null) return NOTHING;
  const seconds = Math.max(0, (now() - Date.parse(time)) / 1000);
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400 * 2) return `${Math.floor(seconds / 3600)} h`;
  return `${count(Math.floor(seconds / 86400))} d`;
}

/** "just now", "3 min ago". @param {string?} time RFC 3339 */
export function ago(time) {
  if (time == null) return "never";
  return now() - Date.parse(time) < 5000 ? "just now" : `${age(time)} ago`;
}

/** "14:03:22", where the reader is. @param {string?} time RFC 3339 */
export function clock(time) {
  if (time == null) return NOTHING;
  return new Date(time).toLocaleTimeString("en-GB");
}

/** "2026-11-28 14:03:22", where the reader is. @param {string?} time RFC 3339 */
export function moment(time) {
  if (time == null) return NOTHING;
  const date = new Date(time);
  const two = (n) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(time)}`;
}

/** "1 device", "2 devices". @param {number} n @param {string} one @param {string} many */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/**
 * A code that tells devices apart, whoever owns them.
 * @param {{user: string, code: (number|string)}} device
 * @returns {string} the code; what it logs in with, if its user is not the usual one
 */
export function codeOf({ user, code }) {
  return user === "default" ? String(code) : `${user}.${code}`;
}
