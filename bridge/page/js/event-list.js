// A list of events that goes on while they happen: newest first, bounded, and it can be paused.

import { get } from "./api.js";
import { formError } from "./dialog.js";
import { h, replace, setText } from "./dom.js";
import { byTime, eventKey, eventRow, eventText, eventWords } from "./events.js";
import { plural } from "./format.js";
import { state } from "./state.js";

/** Milliseconds between two announcements to a screen reader, which reads slower than things happen. */
const ANNOUNCE_EVERY = 6000;

/**
 * @param {object} options
 * @param {string} options.label what is listed
 * @param {string} options.query of `/api/v1/events`, for the beginning
 * @param {number} options.most at most so many are kept
 * @param {function(Object): boolean} [options.concerns] whether it belongs here at all
 * @param {*} options.none what is shown if there are none
 * @param {function()} [options.onWaiting] is called when the number of those that wait has changed
 */
export class EventList {
  constructor({ label, query, most, concerns = () => true, none, onWaiting = () => {} }) {
    Object.assign(this, { query, most, concerns, none, onWaiting });
    this.events = [];
    this.keys = new Set();
    this.waiting = [];
    this.isPaused = false;
    this.matches = () => true;
    this.unannounced = [];
    this.isNew = true;
    this.list = h("ol", { class: "log" });
    this.nothing = h("div", { class: "log-none" });
    this.errors = h("div");
    this.said = h("p", { class: "visually-hidden", role: "status" });
    // What is new is told in sums by the line above, so the list itself is silent.
    const log = h("div", { role: "log", "aria-live": "off", "aria-label": label }, this.list);
    this.element = h("div", { class: "log-frame" }, this.said, this.errors, this.nothing, log);
    this.timer = setInterval(() => this.announce(), ANNOUNCE_EVERY);
    this.ends = [
      state.onEvents((events) => this.take(events)),
      // After a pause of the stream, what happened meanwhile is fetched.
      state.onChange(({ whole }) => whole && this.load()),
    ];
    this.load();
  }

  /** Ends it. */
  leave() {
    clearInterval(this.timer);
    this.ends.forEach((end) => end());
  }

  /** Lets those wait that come from now on, or shows those that have waited. @param {boolean} isPaused */
  pause(isPaused) {
    this.isPaused = isPaused;
    if (!isPaused) this.show(this.waiting.splice(0));
    this.onWaiting();
  }

  /** Shows only those that match. @param {function(Object, string): boolean} matches is given the event and its text */
  filter(matches) {
    this.matches = matches;
    this.redraw();
  }

  /** Forgets what is shown. */
  clear() {
    this.events = [];
    this.waiting = [];
    this.redraw();
    this.onWaiting();
  }

  async load() {
    try {
      const { events } = await get(`/api/v1/events?${this.query}`);
      replace(this.errors);
      this.take(events.reverse());
    } catch (error) {
      replace(this.errors, formError(error));
    }
  }

  take(events) {
    const fresh = events.filter((event) => this.concerns(event) && !this.keys.has(eventKey(event)));
    fresh.forEach((event) => this.keys.add(eventKey(event)));
    if (this.keys.size > 4 * this.most) this.keys = new Set([...this.keys].slice(-2 * this.most));
    if (!this.isPaused) return this.show(fresh);
    this.waiting = [...this.waiting, ...fresh].slice(-this.most);
    this.onWaiting();
  }

  /** @param {Object[]} fresh oldest first */
  show(fresh) {
    const isLater = fresh.every((event) => !this.events[0] || byTime(event, this.events[0]) <= 0);
    this.events = [...fresh].reverse().concat(this.events);
    if (!isLater) this.events.sort(byTime);
    this.events.length = Math.min(this.events.length, this.most);
    const shown = fresh.filter((event) => this.isWanted(event)).slice(-this.most);
    this.unannounced.push(...shown);
    if (!isLater) return this.redraw();
    this.list.prepend(...shown.reverse().map(eventRow));
    while (this.list.childElementCount > this.most) this.list.lastElementChild.remove();
    this.showNone();
  }

  redraw() {
    replace(this.list, this.events.filter((event) => this.isWanted(event)).map(eventRow));
    this.showNone();
  }

  isWanted(event) {
    return this.matches(event, eventText(event));
  }

  showNone() {
    if (this.list.childElementCount > 0) return replace(this.nothing);
    const none = this.events.length ? h("p", { class: "muted" }, "None of them matches the filter.") : this.none;
    if (!this.nothing.contains(none)) replace(this.nothing, none);
  }

  announce() {
    const events = this.unannounced.splice(0);
    // What was there when the view was opened is read from the list.
    const isSilent = this.isNew || events.length === 0;
    this.isNew = false;
    if (isSilent) return;
    const latest = events.at(-1);
    const words = eventWords(latest);
    setText(this.said, events.length === 1 ? words : `${plural(events.length, "new event")}, the last: ${words}`);
  }
}
