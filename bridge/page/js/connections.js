// What several views say of connections: where they are, the two ways that messages go, and how much goes there.

import { h, setAttribute, setText } from "./dom.js";
import { NOTHING, bytes, codeOf, count, plural, rateNumber } from "./format.js";
import { deviceState } from "./parts.js";
import { state } from "./state.js";
import { named } from "./visible.js";

/** The two directions of a connection: the end that tells, and the one that hears. */
export const DIRECTIONS = [
  { way: "from_to", teller: "from", hearer: "to" },
  { way: "to_from", teller: "to", hearer: "from" },
];

/** @param {{user: string, id: string}} connection @returns {string} the address of its page */
export function connectionPath({ user, id }) {
  return `/connections/${encodeURIComponent(user)}/${encodeURIComponent(id)}`;
}

/** @param {{user: string}} connection @param {{code: (number|string)}} end @returns {string} how its device logs in */
export function usernameOf({ user }, end) {
  return `${user}.${end.code}`;
}

/** @param {Object} connection @returns {{publish: string, subscribe: string, presence: string}} the topics of an end */
export function topicsOf({ user, id }, end, peer) {
  const below = `${user}/${id}`;
  return { publish: `${below}/${end.code}`, subscribe: `${below}/${peer.code}/#`, presence: `${below}/presence/${peer.code}` };
}

/**
 * An end of a connection: its live dot, name and code. `update()` shows its present state.
 * @param {Object} connection
 * @param {"from"|"to"} end
 * @returns {{element: HTMLElement, update: function()}}
 */
export function endOf(connection, end) {
  const { code, name } = connection[end];
  const username = usernameOf(connection, connection[end]);
  const dot = h("span", { class: "status end-status" }, h("span", { class: "dot", "aria-hidden": "true" }));
  const word = h("span", { class: "end-word" });
  const element = h("div", { class: "end" },
    h("span", { class: "end-side" }, end === "from" ? "From" : "To"),
    h("a", { class: "end-name", href: `/devices/${encodeURIComponent(username)}`, title: name }, dot, named(name)),
    h("span", { class: "end-code", title: username }, h("code", null, codeOf({ user: connection.user, code })), " · ", word));
  const update = () => {
    const device = state.device(username);
    const [kind, text] = device ? deviceState(device) : ["offline", "Unknown"];
    setAttribute(dot, "class", `status status-${kind} end-status`);
    setText(word, text.toLowerCase());
  };
  update();
  return { element, update };
}

/** @param {Object} way a direction of a connection @returns {string} its messages per second, as a number */
export function rateOf(way) {
  return rateNumber(way?.rate);
}

/** @param {?{last: number}} latency @returns {string} "4.2 ms" */
export function latencyOf(latency) {
  return latency?.last == null ? NOTHING : milliseconds(latency.last);
}

/** @param {number} ms @returns {string} with three digits at most */
export function milliseconds(ms) {
  if (ms >= 10_000) return `${count(ms / 1000)} s`;
  const number = ms < 0.1 ? "<0.1" : ms < 10 ? ms.toFixed(1) : count(ms);
  return `${number} ms`;
}

/** @param {{messages: number, bytes: number}} traffic @returns {string} "3 messages, 1.5 KiB" */
export function trafficOf({ messages, bytes: size }) {
  return messages ? `${plural(messages, "message")}, ${bytes(size)}` : "none";
}

/** @param {Object} connection @returns {number} QoS 1 and 2 messages that wait, both directions together */
export function queuedOf({ from_to, to_from }) {
  return (from_to?.waiting.messages ?? 0) + (to_from?.waiting.messages ?? 0);
}
