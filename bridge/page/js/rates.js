// The last minute of every connection's rates, a value a second, kept in the page from when it is loaded.

import { get } from "./api.js";
import { state } from "./state.js";

/** How many seconds are kept. */
export const SECONDS = 60;
/** How many histories are asked for at the same time. */
const AT_ONCE = 4;
/** Seconds that a busy page may be late without a gap. */
const LATE = 4;

const minutes = new Map();
const listeners = new Set();
const wanted = [];
let asking = 0;
let last = second();

/**
 * The rates of a connection, oldest first; null is unknown.
 * @param {string} key `user/id`
 * @returns {{from_to: (number|null)[], to_from: (number|null)[]}}
 */
export function minuteOf(key) {
  let minute = minutes.get(key);
  if (!minute) {
    minute = { from_to: Array(SECONDS).fill(null), to_from: Array(SECONDS).fill(null), isAsked: false };
    minutes.set(key, minute);
  }
  return minute;
}

/** @param {function()} fn is called each second, when there are new values @returns {function()} ends it */
export function onRates(fn) {
  listeners.add(fn);
  return () => listeners.delete(fn);
}

/**
 * Fills what this page has not seen itself from the history that the bridge keeps.
 * @param {string} key `user/id`
 */
export function askForMinute(key) {
  const minute = minuteOf(key);
  if (minute.isAsked) return;
  minute.isAsked = true;
  wanted.push(key);
  askNext();
}

async function askNext() {
  if (asking >= AT_ONCE || wanted.length === 0) return;
  asking += 1;
  const key = wanted.shift();
  try {
    const history = await get(`/api/v1/connections/${key.split("/").map(encodeURIComponent).join("/")}/history`);
    for (const direction of ["from_to", "to_from"]) fillIn(minuteOf(key)[direction], history[direction], history.interval);
  } catch {
    // A line that begins later is no reason to disturb anybody.
  }
  asking -= 1;
  askNext();
}

function fillIn(seconds, values, interval) {
  for (let back = 1; back <= SECONDS; back++) {
    seconds[SECONDS - back] ??= values[values.length - Math.ceil(back / interval)] ?? null;
  }
}

function second() {
  return Math.floor(Date.now() / 1000);
}

// A page in the background is called late: the seconds that it missed are gaps, not one long second.
setInterval(() => {
  const passed = Math.min(second() - last, SECONDS);
  if (passed <= 0) return;
  last = second();
  const connections = state.current?.connections ?? [];
  const isSeen = state.connected && !document.hidden;
  const known = new Set();
  for (const { key, from_to, to_from } of connections) {
    known.add(key);
    const minute = minuteOf(key);
    push(minute.from_to, passed, isSeen ? (from_to?.rate ?? null) : null);
    push(minute.to_from, passed, isSeen ? (to_from?.rate ?? null) : null);
  }
  for (const key of minutes.keys()) if (!known.has(key)) minutes.delete(key);
  listeners.forEach((fn) => fn());
}, 1000);

function push(values, passed, value) {
  values.splice(0, passed);
  while (values.length < SECONDS - 1) values.push(passed <= LATE ? value : null);
  values.push(value);
}
