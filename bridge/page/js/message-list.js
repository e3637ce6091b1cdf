// Messages one after the other, newest first, at most so many as a page can hold.

import { h, replace, setText } from "./dom.js";
import { bytes, moment, plural } from "./format.js";
import { hexDump, readPayload } from "./payload.js";
import { copyButton } from "./parts.js";
import { named, visible } from "./visible.js";

/** At most so many are kept. */
const MOST = 500;
/** Lines and characters that are shown of a payload before the reader asks for all of it. */
const SHORT = { lines: 12, characters: 700 };
/** Bytes in a line of hex where there is little room, and where there is more. */
const PER_LINE = { narrow: 8, wide: 16 };
const FORMATS = { auto: "By content", text: "Text", json: "JSON", hex: "Hex" };

/** The list; it is empty until it is given something. */
export class MessageList {
  /**
   * @param {Object} connection whose messages they are
   * @param {function()} onWaiting is called when it was paused or resumed, and when more wait
   */
  constructor(connection, onWaiting) {
    this.connection = connection;
    this.onWaiting = onWaiting;
    this.format = "auto";
    this.isPaused = false;
    this.messages = [];
    this.waiting = [];
    this.fresh = [];
    this.list = h("ol", { class: "messages" });
    this.lead = h("p", { class: "muted messages-lead", hidden: true });
    this.said = h("p", { class: "visually-hidden", role: "status" });
    this.unsaid = 0;
    this.element = h("div", null, this.said, this.lead, this.list);
    this.timer = setInterval(() => this.say(), 6000);
  }

  leave() {
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
  }

  /** @param {Object} message as the API tells it, or `{leftOut}`: how many were not told */
  take(message) {
    if (this.isPaused) {
      this.waiting = [...this.waiting, message].slice(-MOST);
      return this.onWaiting();
    }
    this.fresh.push(message);
    if (this.fresh.length > MOST) this.fresh.shift();
    // Many messages become one change of the page.
    this.frame ??= requestAnimationFrame(() => this.show());
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    if (!isPaused) {
      this.fresh.push(...this.waiting.splice(0));
      this.show();
    }
    this.onWaiting();
  }

  clear() {
    this.messages = [];
    this.waiting = [];
    this.fresh = [];
    replace(this.list);
    this.lead.hidden = true;
    this.onWaiting();
  }

  /** The switch between text, JSON and hex. */
  formatChoice() {
    const options = Object.entries(FORMATS).map(([value, text]) => h("option", { value, selected: value === this.format }, text));
    const onchange = ({ target }) => {
      this.format = target.value;
      this.redraw();
    };
    return h("label", { class: "sort-by" }, h("span", null, "Payload as"), h("select", { onchange }, options));
  }

  show() {
    this.frame = null;
    const fresh = this.fresh.splice(0).slice(-MOST).reverse();
    if (fresh.length === 0) return;
    this.unsaid += fresh.length;
    this.messages = [...fresh, ...this.messages].slice(0, MOST);
    this.list.prepend(...fresh.map((message) => this.row(message)));
    while (this.list.childElementCount > MOST) this.list.lastElementChild.remove();
    this.lead.hidden = this.messages.length < MOST;
    setText(this.lead, `Only the last ${MOST} messages are kept here.`);
  }

  redraw() {
    replace(this.list, this.messages.map((message) => this.row(message)));
  }

  say() {
    if (this.unsaid) setText(this.said, plural(this.unsaid, "new message"));
    this.unsaid = 0;
  }

  row(message) {
    if (message.leftOut) return leftOut(message.leftOut);
    const { user, from, to } = this.connection;
    const isForth = message.from === `${user}.${from.code}`;
    const [teller, hearer] = isForth ? [from, to] : [to, from];
    const marks = [`QoS ${message.qos}`, message.retain && "retained", bytes(message.size), message.content_type];
    const payload = readPayload(message.payload, message.size);
    const [kind, whole] = wordsOf(payload, this.format);
    return h("li", { class: `message series-${isForth ? 1 : 2}` },
      h("header", { class: "message-head" },
        h("time", { datetime: message.time, title: moment(message.time) }, timeWithMs(message.time)),
        h("span", { class: "message-way" }, named(teller.name), h("span", { class: "message-arrow" }, " → "), named(hearer.name)),
        h("span", { class: "message-marks" }, marks.filter(Boolean).map((mark) => h("span", { class: "badge" }, visible(mark)))),
        whole === null ? null : copyButton(() => whole, "Copy the payload")),
      h("p", { class: "message-topic" }, h("code", null, named(beginning(message.topic)))),
      whole === null ? h("p", { class: "muted message-empty" }, "empty payload") : payloadOf(payload, kind, whole));
  }
}

function leftOut(number) {
  return h("li", { class: "message-left-out" }, `${plural(number, "message")} left out here: more came than can be shown.`);
}

function beginning(topic) {
  return topic.length > SHORT.characters ? `${topic.slice(0, SHORT.characters)}… (${plural(topic.length, "character")})` : topic;
}

/** How a payload is shown, and all that is shown of it; null if it is empty. */
function wordsOf(payload, format) {
  if (payload.kind === "empty") return ["empty", null];
  const kind = { auto: payload.kind, json: payload.json === null ? fallback(payload) : "json", text: "text", hex: "hex" }[format];
  const words = { json: () => payload.json, text: () => textOrBest(payload), hex: () => hexDump(payload.bytes, perLine()) }[kind]();
  return [kind, words];
}

function payloadOf(payload, kind, whole) {
  const isCut = payload.size > payload.bytes.length;
  return h("div", { class: `payload payload-${kind}` },
    shortened(whole, kind),
    isCut ? h("p", { class: "muted" }, `${bytes(payload.bytes.length)} of ${bytes(payload.size)} are shown.`) : null);
}

function fallback(payload) {
  return payload.text === null ? "hex" : "text";
}

/** What is no text is shown with the marks that stand for what cannot be read. */
function textOrBest(payload) {
  return payload.text ?? new TextDecoder().decode(payload.bytes);
}

function perLine() {
  return window.innerWidth < 720 ? PER_LINE.narrow : PER_LINE.wide;
}

/** A long text begins short. */
function shortened(text, kind) {
  const lines = text.split("\n", SHORT.lines + 1);
  const short = lines.slice(0, SHORT.lines).join("\n").slice(0, SHORT.characters);
  const parts = (text) => (kind === "hex" ? text : visible(text));
  const pre = h("pre", { dir: "auto" }, parts(short.length < text.length && kind !== "hex" ? `${short}…` : short));
  if (short.length === text.length) return pre;
  const more = h("button", { class: "button button-small", type: "button", "aria-expanded": "false" }, "Show all");
  more.addEventListener("click", () => {
    const isOpen = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", String(!isOpen));
    setText(more, isOpen ? "Show all" : "Show less");
    replace(pre, parts(isOpen ? short : text));
  });
  return [pre, h("div", { class: "payload-actions" }, more)];
}

function timeWithMs(time) {
  const date = new Date(time);
  return `${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
