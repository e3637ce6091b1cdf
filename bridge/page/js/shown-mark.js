// The mark of a connection whose messages are shown to the operator: on its card, on its page and in the head of all views.

import { connectionPath } from "./connections.js";
import { h, replace, setAttribute, setText } from "./dom.js";
import { now } from "./format.js";
import { icon } from "./icons.js";
import { state } from "./state.js";
import { named } from "./visible.js";

/** Marks that are shown now; those that have left the page are forgotten at the next second. */
const marks = new Set();
const listeners = new Set();

/**
 * A mark with the time that is left, nothing while there is none.
 * @returns {{element: HTMLElement, update: function(string?)}} `update` takes until when, RFC 3339
 */
export function shownMark() {
  const left = h("span", { class: "shown-left" });
  const element = h("span", { class: "shown-mark", hidden: true }, icon("eye"), "Messages shown ", left);
  const mark = { element, left, until: null, hasBeenSeen: false };
  const update = (until) => {
    mark.until = until ?? null;
    if (mark.until) marks.add(mark);
    tick(mark);
  };
  return { element, update };
}

/** @param {string?} until RFC 3339 @returns {number} whole seconds that are left, 0 if none */
export function secondsLeft(until) {
  return until ? Math.max(0, Math.ceil((Date.parse(until) - now()) / 1000)) : 0;
}

/** @param {number} seconds @returns {string} "4:05" */
export function countdown(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/**
 * The mark in the head of all views, which leads to the connection whose messages are shown, or to all if there are several.
 * @returns {{element: HTMLElement, leave: function()}}
 */
export function shownNow() {
  const words = h("span", { class: "shown-words" });
  const left = h("span", { class: "shown-left" });
  const element = h("a", { class: "shown-mark shown-now", hidden: true }, icon("eye"), words, left);
  let keys = null;
  const update = () => {
    const shown = (state.current?.connections ?? []).filter((connection) => secondsLeft(connection.messages_shown_until) > 0);
    const now = shown.map(({ key, name }) => `${key} ${name}`).join("\n");
    if (now !== keys) {
      keys = now;
      element.hidden = shown.length === 0;
      setAttribute(element, "href", shown.length === 1 ? connectionPath(shown[0]) : "/connections");
      const of = shown.length === 1 ? named(shown[0].name) : `${shown.length} connections`;
      replace(words, "Messages of ", of, " shown");
    }
    setText(left, countdown(Math.max(...shown.map((connection) => secondsLeft(connection.messages_shown_until)), 0)));
  };
  const end = state.onChange(update);
  const endTicks = eachSecond(update);
  update();
  const leave = () => {
    end();
    endTicks();
  };
  return { element, leave };
}

function tick(mark) {
  const seconds = secondsLeft(mark.until);
  setAttribute(mark.element, "hidden", seconds === 0);
  if (seconds > 0) setText(mark.left, countdown(seconds));
  mark.hasBeenSeen ||= mark.element.isConnected;
  if (seconds === 0 || (mark.hasBeenSeen && !mark.element.isConnected)) marks.delete(mark);
}

/** All countdowns change at the same moment. @param {function()} fn @returns {function()} ends it */
export function eachSecond(fn) {
  listeners.add(fn);
  return () => listeners.delete(fn);
}

setInterval(() => {
  marks.forEach(tick);
  listeners.forEach((fn) => fn());
}, 1000);
