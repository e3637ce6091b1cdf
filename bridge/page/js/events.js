// What happened, as it is shown: in the live view, and on the page of a connection.

import { h } from "./dom.js";
import { clock, moment, now } from "./format.js";
import { named, visible } from "./visible.js";

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
    h("p", { class: "log-text" }, words(event)));
}

/** @param {Object} event @returns {string} it as a sentence, to be read out */
export function eventWords({ kind, device, username, text }) {
  return kind === "refused" ? text : [device ?? username, text].filter(Boolean).join(" ");
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

/**
 * The text, with links to what it is about: where it is named in the text, else before or behind it. Whoever was refused did
 * nothing that the text tells: the bridge did, so no name stands before it.
 */
function words({ kind, text, username, device, connection }) {
  // Only a device that is known has a page; another's user name is what a stranger sent.
  const about = device
    ? { name: device, link: h("a", { href: `/devices/${encodeURIComponent(username)}` }, named(device)) }
    : username && { name: username, link: h("bdi", { class: "log-user" }, visible(username)) };
  const href = `/connections/${connection?.split("/").map(encodeURIComponent).join("/")}`;
  const place = connection && { name: connection, link: h("a", { class: "log-connection", href }, visible(connection)) };
  const parts = [about, place].filter(Boolean).reduce(withLink, [text]);
  const isMissing = about && !parts.includes(about.link);
  const isRefused = kind === "refused";
  return [
    isMissing && !isRefused ? [about.link, " "] : null,
    parts.map((part) => (typeof part === "string" ? visible(part) : part)),
    isMissing && isRefused && !text.includes(about.name) ? [", as ", about.link] : null,
    place && !parts.includes(place.link) ? [" ", place.link] : null,
  ];
}

/** Puts a link in the place of the name; not within a longer word, such as a topic. */
function withLink(parts, { name, link }) {
  const isNamed = (part, at) => at >= 0 && !/[\w/."-]/.test(part[at - 1] ?? " ") && !/[\w/"-]/.test(part[at + name.length] ?? " ");
  const index = parts.findIndex((part) => typeof part === "string" && isNamed(part, part.indexOf(name)));
  if (index < 0) return parts;
  const part = parts[index];
  const at = part.indexOf(name);
  return [...parts.slice(0, index), part.slice(0, at), link, part.slice(at + name.length), ...parts.slice(index + 1)];
}
