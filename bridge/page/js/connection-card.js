// A connection as a card, which changes in place while messages go through it.

import { sparkline } from "./chart.js";
import { DIRECTIONS, connectionPath, endOf, latencyOf, rateOf, usernameOf } from "./connections.js";
import { downloadLink } from "./credentials.js";
import { h, setAttribute, setText } from "./dom.js";
import { count, plural } from "./format.js";
import { icon } from "./icons.js";
import { setTime, timeAgo } from "./parts.js";
import { askForMinute, minuteOf } from "./rates.js";
import { state } from "./state.js";
import { shownMark } from "./shown-mark.js";
import { named } from "./visible.js";

/**
 * Rates below this all look small: a line that fills its place for a message a minute would say too much.
 */
const LEAST_TOP = 1;

/** A card of one connection. */
export class ConnectionCard {
  /**
   * @param {Object} connection as the state has it
   * @param {{remove: function(Object)}} actions what its button does
   */
  constructor(connection, { remove }) {
    this.key = connection.key;
    this.usernames = [connection.from, connection.to].map((end) => usernameOf(connection, end));
    this.ends = { from: endOf(connection, "from"), to: endOf(connection, "to") };
    this.ways = DIRECTIONS.map(({ way, hearer }) => new Way(connection, way, hearer));
    this.mark = shownMark();
    const name = named(connection.name);
    const end = (end) => h("div", { class: "card-end" }, this.ends[end].element, downloadLink(connection, end));
    this.element = h("article", { class: "card connection-card" },
      h("header", { class: "card-head" },
        h("div", { class: "card-title" },
          h("h2", null, h("a", { href: connectionPath(connection) }, name)),
          h("p", { class: "card-id" }, h("code", null, connection.key))),
        this.mark.element,
        h("button", {
          class: "button button-small button-quiet", type: "button", "aria-label": `Delete ${connection.name}`,
          onclick: () => remove(state.connection(this.key) ?? connection),
        }, "Delete")),
      h("div", { class: "card-ends" }, end("from"), h("span", { class: "card-between" }, icon("connections")), end("to")),
      h("div", { class: "ways" }, this.ways.map((way) => way.element)));
    this.isSeen = false;
    this.update(connection);
  }

  /** Whether it can be seen: what cannot is not kept current. @param {boolean} isSeen */
  see(isSeen) {
    this.isSeen = isSeen;
    if (!isSeen) return;
    askForMinute(this.key);
    this.update();
    this.draw();
  }

  /** Shows what is known of it now. */
  update(connection = state.connection(this.key)) {
    if (!connection) return;
    this.ends.from.update();
    this.ends.to.update();
    this.mark.update(connection.messages_shown_until);
    this.ways.forEach((way) => way.update(connection[way.way]));
  }

  /** Draws the last minute. */
  draw() {
    const minute = minuteOf(this.key);
    const top = Math.max(LEAST_TOP, ...minute.from_to, ...minute.to_from);
    this.ways.forEach((way) => way.draw(minute[way.way], top));
  }
}

/** One direction on a card. */
class Way {
  constructor(connection, way, hearer) {
    this.way = way;
    this.label = `Messages per second to ${connection[hearer].name}, the last minute`;
    this.line = sparkline([], { label: this.label });
    this.rate = h("b");
    this.queued = h("span", { class: "figure" });
    this.latency = h("span");
    this.last = timeAgo(null);
    this.refused = h("span", { class: "figure-bad" });
    this.dropped = h("span", { class: "figure-bad" });
    this.element = h("div", { class: `way series-${way === "from_to" ? 1 : 2}` },
      h("p", { class: "way-head" },
        h("span", { class: "way-arrow", "aria-hidden": "true" }, way === "from_to" ? "→" : "←"),
        h("span", { class: "way-to", title: `to ${connection[hearer].name}` }, "to ", named(connection[hearer].name)),
        h("span", { class: "way-rate" }, this.rate, " msg/s")),
      this.line,
      h("p", { class: "way-foot" },
        this.queued, this.refused, this.dropped,
        h("span", { title: "How long the last message took through the bridge" }, this.latency),
        h("span", { title: "When the last message was" }, this.last)));
  }

  update(told) {
    setText(this.rate, rateOf(told));
    const waiting = told?.waiting.messages ?? 0;
    setText(this.queued, `${count(waiting)} queued`);
    setAttribute(this.queued, "class", waiting ? "figure figure-some" : "figure");
    showIfAny(this.refused, told?.refused, "refused");
    showIfAny(this.dropped, told?.dropped, "dropped");
    setText(this.latency, told?.latency ? latencyOf(told.latency) : "");
    if (told?.last !== this.last.getAttribute("datetime")) setTime(this.last, told?.last ?? null);
  }

  draw(values, top) {
    this.line.update(values, { label: this.label, max: top });
  }
}

function showIfAny(element, number, word) {
  setText(element, number ? `${count(number)} ${word}` : "");
  setAttribute(element, "title", number ? `${plural(number, "message")} ${word} since the bridge's start` : null);
}
