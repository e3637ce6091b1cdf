// What the bridge tells while it happens: one stream for the whole page, closed while nobody looks.

import { setClock } from "./format.js";

/** Pauses before the next attempt, in seconds; the last one again and again. */
const PAUSES = [1, 2, 4, 8, 15, 30];

const changeListeners = new Set();
const eventListeners = new Set();
const connectionListeners = new Set();
const devices = new Map();
const connections = new Map();
const waiting = [];

let source = null;
let timer = null;
let attempts = 0;
let wanted = false;
let check = async () => {};

export const state = {
  /** All that is known: the `State` of the API. Null until the first has come. */
  current: null,
  /** Whether what is shown is what is. */
  connected: false,
  /** When the next attempt is made, in milliseconds since 1970; null while none is waited for. */
  retryAt: null,

  /**
   * @param {function({whole: boolean, devices: Set<string>, connections: Set<string>})} fn is told what changed: all of it, or
   *   the devices of these user names and the connections of these keys, besides the figures of the whole
   * @returns {function()} ends it
   */
  onChange: (fn) => listen(changeListeners, fn),
  /** @param {function(Array<Object>)} fn is told what happened, oldest first @returns {function()} ends it */
  onEvents: (fn) => listen(eventListeners, fn),
  /** @param {function()} fn is called when the stream is lost or back @returns {function()} ends it */
  onConnection: (fn) => listen(connectionListeners, fn),
  /** @param {string} username @returns {Object?} the device */
  device: (username) => state.current?.devices[devices.get(username)],
  /** @param {string} key `user/id` @returns {Object?} the connection */
  connection: (key) => state.current?.connections[connections.get(key)],
};

/**
 * Opens the stream and keeps it open while the page can be seen.
 * @param {function(): Promise} isLoggedIn asked before each further attempt; throws if there is no use in one
 */
export function startState(isLoggedIn) {
  check = isLoggedIn;
  wanted = true;
  if (!document.hidden) open();
}

/** Closes the stream and forgets everything. */
export function stopState() {
  wanted = false;
  close();
  state.current = null;
  state.connected = false;
  attempts = 0;
}

/** @returns {Promise} resolves as soon as there is a state */
export function firstState() {
  return state.current ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve));
}

/** Tries again at once. */
export function retryNow() {
  if (wanted && !source) reopen();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else if (wanted && !source) open();
});
window.addEventListener("online", retryNow);
// A page that waits in the browser's memory must not keep a place at the bridge.
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", (event) => {
  if (event.persisted && wanted && !source) open();
});

function open() {
  clearTimeout(timer);
  state.retryAt = null;
  source = new EventSource("/api/v1/live");
  on("state", takeState);
  on("changes", takeChanges);
  on("events", (events) => tell(eventListeners, events));
  on("stopping", () => lost());
  source.onerror = lost;
}

function on(name, take) {
  const mine = source;
  source.addEventListener(name, (event) => {
    if (source === mine) take(event.data ? JSON.parse(event.data) : null);
  });
}

function close() {
  clearTimeout(timer);
  source?.close();
  source = null;
  state.retryAt = null;
}

// The browser's own attempts come at fixed intervals and go on after a log out, so they are made here.
function lost() {
  close();
  const pause = PAUSES[Math.min(attempts, PAUSES.length - 1)] * (0.8 + 0.4 * Math.random());
  attempts += 1;
  state.connected = false;
  state.retryAt = Date.now() + pause * 1000;
  timer = setTimeout(reopen, pause * 1000);
  tell(connectionListeners);
}

async function reopen() {
  clearTimeout(timer);
  state.retryAt = null;
  tell(connectionListeners);
  try {
    await check();
  } catch {
    if (wanted && !document.hidden) lost();
    return;
  }
  if (wanted && !source && !document.hidden) open();
}

function takeState(told) {
  setClock(told.time);
  state.current = told;
  index(devices, told.devices, "username");
  index(connections, told.connections, "key");
  attempts = 0;
  if (!state.connected) {
    state.connected = true;
    tell(connectionListeners);
  }
  for (const resolve of waiting.splice(0)) resolve();
  tell(changeListeners, { whole: true, devices: new Set(devices.keys()), connections: new Set(connections.keys()) });
}

function takeChanges(told) {
  if (!state.current) return;
  setClock(told.time);
  state.current.time = told.time;
  for (const part of ["bridge", "machine", "store", "totals", "rates"]) {
    if (told[part]) Object.assign(state.current[part], told[part]);
  }
  tell(changeListeners, {
    whole: false,
    devices: renew(devices, state.current.devices, told.devices, "username"),
    connections: renew(connections, state.current.connections, told.connections, "key"),
  });
}

function index(map, entries, key) {
  map.clear();
  entries.forEach((entry, position) => map.set(entry[key], position));
}

function renew(map, entries, changed, key) {
  const renewed = new Set();
  for (const entry of changed ?? []) {
    const position = map.get(entry[key]);
    // One that is not known is new: the state that has it is on its way.
    if (position === undefined) continue;
    entries[position] = entry;
    renewed.add(entry[key]);
  }
  return renewed;
}

function listen(listeners, fn) {
  listeners.add(fn);
  return () => listeners.delete(fn);
}

function tell(listeners, what) {
  for (const fn of [...listeners]) {
    try {
      fn(what);
    } catch (error) {
      // One view's fault must not keep the others from what is new.
      console.error(error);
    }
  }
}
