// One connection: what goes through it, what its ends need to connect, and what happened to it.

import { apiPath, get } from "../api.js";
import { chart } from "../chart.js";
import { DIRECTIONS, endOf, milliseconds, rateOf, topicsOf, trafficOf } from "../connections.js";
import { credentialCard } from "../credentials.js";
import { deleteConnection } from "../delete-connection.js";
import { h, replace, setText } from "../dom.js";
import { EventList } from "../event-list.js";
import { NOTHING, count } from "../format.js";
import { MessageView } from "../message-view.js";
import { copyButton, empty, setTime, timeAgo, viewHead } from "../parts.js";
import { navigate, setQuery, setTitle } from "../router.js";
import { shownMark } from "../shown-mark.js";
import { state } from "../state.js";
import { named } from "../visible.js";

const EVENTS = 100;
/** Milliseconds between two looks at the history, which has a value each half minute. */
const HISTORY_EVERY = 15_000;
const BACK = { href: "/connections", text: "Connections" };

export default {
  path: "/connections/{user}/{id}",
  title: "Connection",
  render({ user, id }, query) {
    const place = h("div", { class: "connection" });
    const key = `${user}/${id}`;
    let shown = null;
    const show = () => {
      const connection = state.connection(key);
      const now = connection && JSON.stringify([connection.name, connection.from, connection.to]);
      if (shown && now === shown.made) return shown.update(connection);
      shown?.leave();
      shown = connection ? { made: now, ...page(connection, query.has("created")) } : { made: now, ...gone(key) };
      replace(place, shown.element);
    };
    show();
    const end = state.onChange(show);
    const leave = () => {
      end();
      shown.leave();
    };
    return { element: place, leave };
  },
};

function gone(key) {
  setTitle("No such connection");
  const element = h("div", null,
    viewHead("No such connection", { back: BACK }),
    empty("It is not there", `There is no connection ${key}, or not any more.`,
      h("a", { class: "button", href: "/connections" }, "All connections")));
  return { element, update() {}, leave() {} };
}

function page(connection, isCreated) {
  setTitle(connection.name);
  const ends = ["from", "to"].map((end) => endOf(connection, end));
  const ways = DIRECTIONS.map((direction) => new WayCard(connection, direction));
  const mark = shownMark();
  const messages = new MessageView(connection);
  const usernames = ["from", "to"].map((end) => `${connection.user}.${connection[end].code}`);
  const events = new EventList({
    label: "Last events of this connection",
    query: new URLSearchParams({ connection: connection.key, limit: EVENTS }).toString(),
    most: EVENTS,
    concerns: (event) => (event.connection ? event.connection === connection.key : usernames.includes(event.username)),
    none: h("p", { class: "muted" }, "Nothing has happened since the bridge was started."),
  });
  const history = new History(connection, ways);
  const remove = async () => {
    if (await deleteConnection(state.connection(connection.key) ?? connection)) navigate("/connections", { replace: true });
  };
  const credentials = h("section", { class: "section" },
    h("h2", null, "Credentials"),
    h("p", { class: "muted" }, "Hand each device its own. Whoever has it can log in as that device."),
    h("div", { class: "two" }, ["from", "to"].map((end) => credentialCard(connection, end))));
  const traffic = h("div", { class: "two" }, ways.map((way) => way.element));
  const element = h("div", null,
    viewHead(named(connection.name), {
      back: BACK,
      lead: h("code", null, connection.key),
      actions: [mark.element, h("button", { class: "button button-danger", type: "button", onclick: remove }, "Delete …")],
    }),
    isCreated ? created(connection) : null,
    h("section", { class: "card ends-card", "aria-label": "Devices" }, ends.map((end) => end.element)),
    // Of a new one, there is no traffic to be seen yet.
    isCreated ? [credentials, traffic] : [traffic, credentials],
    h("section", { class: "section" },
      h("h2", null, "Topics"),
      h("div", { class: "two" }, topicCard(connection, "from", "to"), topicCard(connection, "to", "from"))),
    messages.element,
    h("section", { class: "card card-list" },
      h("header", { class: "card-head" }, h("h2", null, "Last events"),
        h("a", { href: `/live?text=${encodeURIComponent(connection.key)}` }, "In the live view")),
      events.element));
  const update = (connection) => {
    ends.forEach((end) => end.update());
    ways.forEach((way) => way.update(connection));
    mark.update(connection.messages_shown_until);
  };
  update(connection);
  const leave = () => [messages, events, history].forEach((part) => part.leave());
  return { element, update, leave };
}

function created(connection) {
  // A reload shows the page as it is for everybody.
  setQuery({ created: null });
  const [from, to] = ["from", "to"].map((end) => h("b", null, named(connection[end].name)));
  return h("div", { class: "notice notice-online", role: "status" },
    h("p", { class: "notice-title" }, "The connection is ready."),
    h("p", null, "Hand ", from, " and ", to, " their credentials, below: as soon as both use them, they can talk."));
}

/** The traffic of a direction: its figures, and the last hour. */
class WayCard {
  constructor(connection, { way, teller, hearer }) {
    this.way = way;
    const [from, to] = [teller, hearer].map((end) => named(connection[end].name));
    this.figures = Object.fromEntries(["rate", "published", "queued", "latency", "lost"].map((name) => [name, h("dd")]));
    this.last = timeAgo(null);
    this.name = `${connection[teller].name} to ${connection[hearer].name}`;
    this.chart = chart(this.data([], 30, new Date().toISOString()));
    const { rate, published, queued, latency, lost } = this.figures;
    const figure = (name, value) => h("div", { class: "figure-item" }, h("dt", null, name), value);
    this.element = h("section", { class: `card way-card ${way === "from_to" ? "way-1" : "way-2"}`, "aria-label": this.name },
      h("h2", null, from, h("span", { class: "way-arrow" }, " → "), to),
      this.chart,
      h("dl", { class: "figures" },
        figure("Messages per second", rate), figure("Last message", h("dd", null, this.last)), figure("Latency", latency),
        figure("Published", published), figure("Queued", queued), figure("Not delivered", lost)));
  }

  data(values, interval, end) {
    const label = `Messages per second from ${this.name}, the last hour`;
    return { series: [{ name: "Messages", values }], interval, end, unit: "/s", label, max: 1 };
  }

  draw(history) {
    this.chart.update(this.data(history[this.way], history.interval, history.end));
  }

  update(connection) {
    const told = connection[this.way];
    if (!told) return;
    const { rate, published, queued, latency, lost } = this.figures;
    setText(rate, rateOf(told));
    setText(published, trafficOf(told.published));
    setText(queued, trafficOf(told.waiting));
    setText(latency, latencies(told.latency));
    const losses = [told.refused && `${count(told.refused)} refused`, told.dropped && `${count(told.dropped)} dropped`].filter(Boolean);
    setText(lost, losses.join(", ") || "none");
    lost.classList.toggle("figure-bad", losses.length > 0);
    if (told.last !== this.last.getAttribute("datetime")) setTime(this.last, told.last);
  }
}

function latencies(latency) {
  if (latency?.last == null) return NOTHING;
  const { last, mean, max } = latency;
  return `${milliseconds(last)} (mean ${milliseconds(mean)}, longest ${milliseconds(max)})`;
}

/** Keeps the charts of a connection's two directions current. */
class History {
  constructor(connection, ways) {
    this.path = apiPath("connections", connection.user, connection.id, "history");
    this.ways = ways;
    this.timer = setInterval(() => document.hidden || this.load(), HISTORY_EVERY);
    this.load();
  }

  async load() {
    try {
      const history = await get(this.path);
      this.ways.forEach((way) => way.draw(history));
    } catch (error) {
      // The head of the page says already that the bridge is away; older values are still true.
      if (error.status !== 0 && error.status !== 404) console.error(error);
    }
  }

  leave() {
    clearInterval(this.timer);
  }
}

function topicCard(connection, end, peer) {
  const name = connection[end].name;
  const { publish, subscribe, presence } = topicsOf(connection, connection[end], connection[peer]);
  const row = (what, topic) => h("div", { class: "topic-row" },
    h("dt", null, what), h("dd", null, h("code", null, topic), copyButton(() => topic, `Copy the topic that ${name} ${what}`)));
  return h("section", { class: "card topic-card", "aria-label": `Topics of ${name}` },
    h("h3", null, named(name)),
    h("dl", null, row("publishes to", publish), row("subscribes to", subscribe), row("hears of its peer's presence by", presence)));
}
