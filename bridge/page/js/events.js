// What happened, as it is shown: in the live view, and on the page of a connection.

import { h } from "./dom.js";
import { clock, moment, now } from "./format.js";
import { visible } from "./visible.js";

/** Kinds of events: the word for each, and how it is marked. */
export const KINDS = {
  connected: ["Connected", "online"],
  disconnected: ["Disconnected", "offline"],
  refused: ["Refused", "refused"],
  denied: ["Denied", "refused"],
  full: ["Queue full", "warning"],
  limit: ["Limit", "warning"],
  store: ["Store", "warning"],
  configuration: ["Configuration", "note"],
  page: ["Page", "note"],
  missed: ["Missing", "warning"],
  stopping: ["Stopping", "warning"],
};

/** @param {string} kind @returns {[string, string]} the word for it, and how it is marked */
export function kindOf(kind) {
  return KINDS[kind] ?? [kind, "note"];
}

/** @param {Object} event @returns {string} tells it from all others, those before a restart included */
export function eventKey(event) {
  return `${event.time} ${event.number ?? event.text}`;
}

/** Newest first. */
export function byTime(a, b) {
  return a.time < b.time ? 1 : a.time > b.time ? -1 : (b.number ?? 0) - (a.number ?? 0);
}

/**
 * An event as a line of a list.
 * @param {Object} event as the API tells it
 * @returns {HTMLLIElement}
 */
export function eventRow(event) {
  const [word, mark] = kindOf(event.kind);
  return h("li", { class: "log-row" },
    h("time", { class: "log-time", datetime: event.time, title: moment(event.time) }, when(event.time)),
    h("span", { class: `badge badge-${mark}` }, word),
    h("p", { class: "log-text" }, who(event), visible(event.text), where(event)));
}

/** @param {Object} event @returns {string} all that is read of it, in lower case, to be searched */
export function eventText(event) {
  const parts = [kindOf(event.kind)[0], event.device, event.username, event.connection, event.text];
  return parts.filter(Boolean).join(" ").toLowerCase();
}

/** Without the day if it is this one. */
function when(time) {
  const isToday = new Date(time).toDateString() === new Date(now()).toDateString();
  return isToday ? clock(time) : moment(time);
}

function who(event) {
  // Only a device that is known has a page; another's user name is what a stranger sent.
  if (event.device) {
    return [h("a", { href: `/devices/${encodeURIComponent(event.username)}` }, h("bdi", null, visible(event.device))), " "];
  }
  return event.username ? [h("bdi", { class: "log-user" }, visible(event.username)), " "] : null;
}

function where(event) {
  if (!event.connection) return null;
  const href = `/connections/${event.connection.split("/").map(encodeURIComponent).join("/")}`;
  return [" ", h("a", { class: "log-connection", href }, visible(event.connection))];
}
