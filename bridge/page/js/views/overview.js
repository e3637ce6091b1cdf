// How the bridge is, at a glance.

import { get } from "../api.js";
import { chart } from "../chart.js";
import { addDevice } from "../add-device.js";
import { h, replace, setText } from "../dom.js";
import { EventList } from "../event-list.js";
import { ago, bytes, count, duration, moment, percent, plural, rate } from "../format.js";
import { empty, status, viewHead } from "../parts.js";
import { session } from "../session.js";
import { state } from "../state.js";

/** Milliseconds between two looks at the history, which has a value every ten seconds. */
const LOOK_EVERY = 10_000;

/** What each tile shows: its words, its figure, what stands below it. */
const TILES = [
  ["Messages", ({ rates }) => rate(rates.received), ({ rates }) => `in, ${rate(rates.sent)} out`],
  ["Devices online", ({ totals }) => count(totals.devices_online), ({ devices }) => `of ${count(devices.length)}`],
  ["Queued", ({ totals }) => count(totals.queued), ({ totals }) => (totals.queue_full ? `${count(totals.queue_full)} refused, queue full` : "QoS 1 and 2, waiting")],
  ["Denied", ({ totals }) => count(totals.denied), ({ totals }) => `${plural(totals.refused_connections, "connection")} refused`],
  ["Store", ({ store }) => (store.bytes == null ? "memory" : bytes(store.bytes)), ({ store }) => storeNote(store)],
  ["CPU", ({ bridge }) => percent(bridge.cpu), ({ machine }) => `of a core; load ${machine.load?.toFixed(2) ?? "unknown"}`],
  ["Memory", ({ bridge }) => bytes(bridge.memory), ({ machine }) => `${bytes(machine.memory_free)} of ${bytes(machine.memory_total)} free`],
  ["Disk free", ({ machine }) => bytes(machine.disk_free), ({ machine }) => `of ${bytes(machine.disk_total)}`],
  ["Uptime", ({ bridge }) => duration(bridge.uptime), ({ bridge }) => `since ${moment(bridge.started)}`],
  ["Version", ({ bridge }) => bridge.version, ({ bridge }) => `on ${bridge.host}`],
];

const CHARTS = [
  { label: "Messages", unit: "/s", series: [["In", "received"], ["Out", "sent"], ["Denied", "denied"]] },
  { label: "Devices online", unit: "", series: [["Online", "devices_online"]] },
  { label: "Queued messages", unit: "", series: [["Queued", "queued"]] },
  { label: "CPU", unit: "%", series: [["Of a core", "cpu"]] },
  { label: "Memory", unit: "B", series: [["Of the bridge", "memory"]] },
  { label: "Store", unit: "B", series: [["On disk", "store_bytes"]] },
];

const LISTENERS = {
  mqtt: "MQTT",
  mqtts: "MQTT over TLS",
  websocket: "MQTT over WebSocket",
  web: "This page",
};

export default { path: "/", title: "Overview", render };

function render() {
  const tiles = TILES.map(([label, figure, note]) => {
    const value = h("dd", { class: "tile-figure" });
    const below = h("dd", { class: "tile-note" });
    const element = h("div", { class: "card tile" }, h("dt", null, label), value, below);
    return { element, show: (now) => { setText(value, figure(now)); setText(below, note(now)); } };
  });
  const notices = h("div", { class: "stack notices" });
  const listeners = h("ul", { class: "listeners" });
  const charts = new Charts();
  const events = new EventList({
    label: "Latest events", query: "limit=8", most: 8,
    none: empty("Nothing has happened yet", "Devices that connect, refusals and changes of the configuration appear here."),
  });

  function show({ whole }) {
    const now = state.current;
    tiles.forEach((tile) => tile.show(now));
    const notes = noticesOf(now);
    const key = JSON.stringify(notes.map((note) => note.key));
    if (notices.dataset.key !== key) {
      notices.dataset.key = key;
      replace(notices, notes.map((note) => note.element()));
    }
    if (whole) replace(listeners, now.listeners.map(listener));
  }

  show({ whole: true });
  const end = state.onChange(show);
  const leave = () => {
    end();
    charts.leave();
    events.leave();
  };
  const element = h("div", { class: "stack overview" },
    viewHead("Overview"),
    notices,
    h("dl", { class: "tiles" }, tiles.map((tile) => tile.element)),
    charts.element,
    h("div", { class: "beside" },
      h("section", { class: "card section", "aria-labelledby": "events-head" },
        h("div", { class: "section-head" }, h("h2", { id: "events-head" }, "Latest events"), h("a", { href: "/live" }, "All that happens")),
        events.element),
      h("section", { class: "card section", "aria-labelledby": "listeners-head" },
        h("h2", { id: "listeners-head" }, "Listeners"), listeners)));
  return { element, leave };
}

/** The charts of the last hour. */
class Charts {
  constructor() {
    this.charts = null;
    this.grid = h("div", { class: "chart-grid-view" }, CHARTS.map(() => h("div", { class: "card chart-card" })));
    this.element = h("section", { class: "section", "aria-labelledby": "hour-head" }, h("h2", { id: "hour-head" }, "The last hour"), this.grid);
    this.timer = setInterval(() => this.look(), LOOK_EVERY);
    this.look();
  }

  async look() {
    if (document.hidden) return;
    let history;
    try {
      history = await get("/api/v1/history");
    } catch {
      // The bar above says it already if the bridge is away; the next look comes soon.
      return;
    }
    const all = CHARTS.map(({ series, ...rest }) => ({
      ...rest, interval: history.interval, end: history.end, series: series.map(([name, key]) => ({ name, values: history[key] })),
    }));
    if (this.charts) {
      this.charts.forEach((one, index) => one.update(all[index]));
      return;
    }
    this.charts = all.map(chart);
    this.charts.forEach((one, index) => replace(this.grid.children[index], h("h3", null, CHARTS[index].label), one));
  }

  leave() {
    clearInterval(this.timer);
  }
}

function noticesOf(now) {
  const notes = [];
  if (now.store.failing) {
    notes.push({
      key: `store ${now.store.failing}`,
      element: () => h("div", { class: "notice notice-refused", role: "alert" },
        h("p", { class: "notice-title" }, "Messages cannot be kept"),
        h("p", null, now.store.failing, ". QoS 1 and 2 messages for sessions that stay are refused until the store works again.")),
    });
  }
  if (session.current?.password_is_initial) {
    notes.push({
      key: "password",
      element: () => h("div", { class: "notice notice-warning" },
        h("p", { class: "notice-title" }, "The first password is still in use"),
        h("p", null, "It stands in a file of the data directory. ", h("a", { href: "/account" }, "Change it"), ", then the file is removed.")),
    });
  }
  if (now.devices.length === 0) {
    notes.push({
      key: "devices",
      element: () => empty("No devices yet", "Add two devices and connect them: then they can exchange messages, and nobody else hears them.",
        h("button", { class: "button button-primary", type: "button", onclick: addDevice }, "Add device")),
    });
  }
  return notes;
}

function storeNote({ durability, failing, last_commit: last }) {
  if (failing) return "cannot keep messages";
  return durability === "memory" ? "nothing survives a restart" : `${durability}, ${last ? `written ${ago(last)}` : "nothing written yet"}`;
}

function listener({ name, address }) {
  return h("li", null,
    status("online", LISTENERS[name] ?? name),
    h("code", null, address));
}
