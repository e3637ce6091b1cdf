// The messages of one connection while they happen. Off until the operator turns it on, for a limited time.

import { apiPath, post, remove } from "./api.js";
import { confirmDialog, formError } from "./dialog.js";
import { h, replace, setText } from "./dom.js";
import { count } from "./format.js";
import { MessageList } from "./message-list.js";
import { countdown, eachSecond, secondsLeft } from "./shown-mark.js";
import { state } from "./state.js";

const MINUTES = [1, 5, 15, 30];

/** The section of a connection's page that shows its messages. */
export class MessageView {
  /** @param {Object} connection as the state has it */
  constructor(connection) {
    this.key = connection.key;
    this.path = apiPath("connections", connection.user, connection.id, "messages");
    this.name = connection.name;
    this.until = null;
    this.source = null;
    this.list = new MessageList(connection, () => this.showPause());
    this.left = h("b", { class: "shown-left" });
    this.pause = h("button", { class: "button", type: "button", onclick: () => this.list.pause(!this.list.isPaused) });
    this.control = h("div");
    this.errors = h("div");
    this.element = h("section", { class: "card messages-card", "aria-labelledby": "messages-title" },
      h("header", { class: "card-head" }, h("h2", { id: "messages-title" }, "Messages")),
      this.errors, this.control, this.list.element);
    this.isOn = null;
    this.end = state.onChange(() => this.take(state.connection(this.key)?.messages_shown_until));
    this.endTicks = eachSecond(() => this.tick());
    // A browser has few connections to one host: pages that nobody looks at leave them to the others.
    this.seen = () => (this.isOn && !document.hidden ? this.listen() : this.close());
    document.addEventListener("visibilitychange", this.seen);
    this.take(connection.messages_shown_until);
    this.showPause();
  }

  /** Ends what this page has opened; what was turned on stays on until its time is over. */
  leave() {
    this.end();
    this.endTicks();
    document.removeEventListener("visibilitychange", this.seen);
    this.close();
    this.list.leave();
  }

  /** @param {string?} until RFC 3339 */
  take(until) {
    this.until = until ?? null;
    const isOn = secondsLeft(this.until) > 0;
    if (isOn !== this.isOn) {
      this.isOn = isOn;
      this.element.classList.toggle("is-shown", isOn);
      if (isOn) this.listen();
      else this.close();
      this.show();
    }
    this.tick();
  }

  tick() {
    const seconds = secondsLeft(this.until);
    setText(this.left, countdown(seconds));
    if (seconds === 0 && this.isOn) this.take(null);
  }

  show() {
    // Whoever pressed the button that goes away keeps a place for the keyboard.
    const hadFocus = this.control.contains(document.activeElement);
    replace(this.control, this.isOn ? this.shown() : this.hidden());
    if (hadFocus) this.control.querySelector("button")?.focus();
  }

  hidden() {
    return [
      h("p", null, "Topics and payloads of this connection are not shown: they belong to its devices. If you need to see them, turn "
        + "them on for a limited time. That this was done is logged and told to all who watch."),
      h("div", { class: "actions" }, h("button", { class: "button", type: "button", onclick: () => this.ask() }, "Show messages …")),
    ];
  }

  shown() {
    const bar = h("div", { class: "shown-bar", role: "group", "aria-label": "Message view" },
      h("p", null, h("span", { class: "recording", "aria-hidden": "true" }), "Messages are shown for ", this.left, " more."),
      h("div", { class: "actions" },
        h("button", { class: "button", type: "button", onclick: () => this.turnOff() }, "Stop showing"),
        this.pause,
        h("button", { class: "button", type: "button", onclick: () => this.list.clear() }, "Clear"),
        this.list.formatChoice()));
    return [bar, h("p", { class: "muted messages-none" }, "No message has passed since. What comes appears here at once.")];
  }

  async ask() {
    const choices = MINUTES.map((minutes) => h("label", { class: "choice" },
      h("input", { type: "radio", name: "minutes", value: String(minutes), checked: minutes === 5 }),
      h("span", null, minutes === 1 ? "1 minute" : `${minutes} minutes`)));
    const chosen = () => Number(choices.map((choice) => choice.firstElementChild).find((input) => input.checked).value);
    const run = async () => {
      const { until } = await post(this.path, { minutes: chosen() });
      this.take(until);
    };
    await confirmDialog({
      title: `Show the messages of ${this.name}?`,
      body: [
        h("p", null, "Topics and payloads will be shown on this page as they pass. Nothing of them is recorded."),
        h("p", null, "It is written to the log and shown as an event, and a mark with the time that is left stands on every page."),
        h("fieldset", { class: "choices" }, h("legend", null, "For how long"), choices),
      ],
      action: "Show messages",
      run,
    });
  }

  async turnOff() {
    try {
      await remove(this.path);
      replace(this.errors);
      this.take(null);
    } catch (error) {
      replace(this.errors, formError(error));
    }
  }

  listen() {
    this.close();
    if (document.hidden) return;
    replace(this.errors);
    const source = new EventSource(this.path);
    this.source = source;
    source.addEventListener("message", (event) => this.list.take(JSON.parse(event.data)));
    source.addEventListener("left_out", (event) => this.list.take({ leftOut: JSON.parse(event.data).count }));
    source.addEventListener("end", () => source === this.source && this.take(null));
    source.onerror = () => {
      // The browser tries again by itself, unless the bridge has said no.
      if (source !== this.source || source.readyState !== EventSource.CLOSED) return;
      this.close();
      if (this.isOn) {
        replace(this.errors, formError({ detail: "The messages cannot be read now. Stop showing them, and show them again" }));
      }
    };
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  showPause() {
    const { isPaused, waiting } = this.list;
    setText(this.pause, !isPaused ? "Pause" : waiting.length ? `Resume (${count(waiting.length)} waiting)` : "Resume");
  }
}
