// One device: what it is, where it is, what it does.

import { apiPath, get } from "../api.js";
import { chart } from "../chart.js";
import { createConnection } from "../create-connection.js";
import { connectionsOf, endOf, removeDevice, rename, rotate, setDisabled } from "../device-actions.js";
import { h, replace, setText } from "../dom.js";
import { EventList } from "../event-list.js";
import { bytes, codeOf, count, duration, plural, rate } from "../format.js";
import { icon } from "../icons.js";
import { deviceState, empty, setStatus, status, timeAgo, viewHead } from "../parts.js";
import { setTitle } from "../router.js";
import { state } from "../state.js";
import { visible } from "../visible.js";

/** Milliseconds between two looks at the history, which has a value every thirty seconds. */
const LOOK_EVERY = 30_000;
const BACK = { href: "/devices", text: "Devices" };

export default { path: "/devices/{username}", title: "Device", render: ({ username }) => new DeviceView(username) };

class DeviceView {
  constructor(username) {
    this.username = username;
    this.element = h("div", { class: "stack device" });
    this.ends = [];
    /** What the parts were made of. */
    this.keys = new WeakMap();
    this.isThere = null;
    this.follow();
    this.unsubscribe = state.onChange(({ whole, devices, connections }) => {
      if (whole || devices.has(username) || this.isOf(connections)) this.follow();
    });
  }

  leave() {
    this.unsubscribe();
    this.close();
  }

  close() {
    this.ends.splice(0).forEach((end) => end());
  }

  isOf(connections) {
    const device = state.device(this.username);
    return device?.connections.some((id) => connections.has(`${device.user}/${id}`)) ?? false;
  }

  /** Shows the device, or that there is none, which may change while one looks. */
  follow() {
    const device = state.device(this.username);
    if (Boolean(device) !== this.isThere) {
      this.isThere = Boolean(device);
      this.close();
      if (device) this.build(device);
      else this.showNone();
    }
    if (device) this.show(device);
  }

  showNone() {
    setTitle("No such device");
    replace(this.element, viewHead("No such device", { back: BACK }),
      empty(`There is no device ${this.username}`, "It was removed, or never added.", h("a", { class: "button", href: "/devices" }, "All devices")));
  }

  build(device) {
    this.name = h("bdi");
    this.state = status("offline", "");
    this.lock = h("button", { class: "button", type: "button", onclick: () => setDisabled(this.device, !this.device.disabled) });
    this.facts = h("dl", { class: "facts" });
    this.sessions = h("div", { class: "section" });
    this.connections = h("div", { class: "section" });
    this.notice = h("div");
    const events = new EventList({
      label: "Latest events of this device", query: `device=${encodeURIComponent(this.username)}&limit=20`, most: 20,
      concerns: (event) => event.username === this.username,
      none: h("p", { class: "muted" }, "Nothing has happened with it since the bridge started."),
    });
    const traffic = this.chart();
    this.ends.push(() => events.leave());
    replace(this.element,
      viewHead(this.name, {
        back: BACK,
        lead: [this.state],
        actions: [
          h("button", { class: "button", type: "button", onclick: () => rename(this.device) }, "Edit"),
          h("button", { class: "button", type: "button", onclick: () => rotate(this.device) }, "New password"),
          this.lock,
          h("button", { class: "button button-danger", type: "button", onclick: () => removeDevice(this.device) }, "Remove"),
        ],
      }),
      this.notice,
      h("div", { class: "beside" },
        h("section", { class: "card section", "aria-labelledby": "facts-head" }, h("h2", { id: "facts-head" }, "Facts"), this.facts),
        h("section", { class: "card section", "aria-labelledby": "traffic-head" }, h("h2", { id: "traffic-head" }, "Traffic of the last hour"), traffic)),
      h("section", { class: "card section", "aria-labelledby": "connections-head" },
        h("div", { class: "section-head" }, h("h2", { id: "connections-head" }, "Connections"),
          h("button", { class: "button button-small", type: "button", onclick: () => createConnection({ from: this.device }) }, icon("plus"), "Connect it")),
        this.connections),
      h("section", { class: "card section", "aria-labelledby": "sessions-head" }, h("h2", { id: "sessions-head" }, "Sessions"), this.sessions),
      h("section", { class: "card section", "aria-labelledby": "events-head" },
        h("div", { class: "section-head" }, h("h2", { id: "events-head" }, "Latest events"),
          h("a", { href: `/live?text=${encodeURIComponent(device.username)}` }, "Live")),
        events.element));
  }

  show(device) {
    if (device.name !== this.device?.name || !this.name.hasChildNodes()) replace(this.name, visible(device.name));
    setTitle(device.name);
    this.device = device;
    setStatus(this.state, deviceState(device));
    setText(this.lock, device.disabled ? "Enable" : "Disable");
    this.renew("notice", [device.disabled], () => device.disabled && h("div", { class: "notice notice-refused" },
      h("p", { class: "notice-title" }, "This device is disabled"), h("p", null, "It may not log in until it is enabled again.")));
    this.renew("facts", device, () => facts(device));
    this.renew("sessions", device.sessions ?? [], () => sessionTable(device.sessions ?? []));
    const connections = connectionsOf(device);
    this.renew("connections", connections, () => connectionTable(device, connections));
  }

  /** Makes a part anew, if what it is made of has changed and nobody is in the middle of it. */
  renew(part, of, make) {
    const key = JSON.stringify(of);
    const place = this[part];
    if (this.keys.get(place) === key || place.contains(document.activeElement)) return;
    const selection = document.getSelection();
    if (!selection.isCollapsed && place.contains(selection.anchorNode)) return;
    this.keys.set(place, key);
    replace(place, make());
  }

  chart() {
    const place = h("div", { class: "chart-place" });
    let shown = null;
    const look = async () => {
      if (document.hidden) return;
      try {
        const history = await get(`${apiPath("devices", this.username)}/history`);
        const data = {
          label: "Traffic", unit: "/s", interval: history.interval, end: history.end,
          series: [{ name: "From it", values: history.received }, { name: "To it", values: history.sent }],
        };
        if (shown) shown.update(data);
        else replace(place, (shown = chart(data)));
      } catch {
        // The next look comes soon; a bridge that is away is told of above.
      }
    };
    look();
    const timer = setInterval(look, LOOK_EVERY);
    this.ends.push(() => clearInterval(timer));
    return place;
  }
}

function facts(device) {
  const traffic = ({ messages, bytes: size }) => `${plural(messages, "message")}, ${bytes(size)}`;
  const rows = [
    ["Code", h("code", null, device.code)],
    ["Type", visible(device.type)],
    ["User", device.user],
    ["Logs in as", h("code", null, device.username)],
    device.online ? ["Online for", timeAgo(device.online_since, "age")] : ["Last seen", timeAgo(device.last_seen)],
    ["From it", device.received && [`${rate(device.rates?.received)}; `, traffic(device.received)]],
    ["To it", device.sent && [`${rate(device.rates?.sent)}; `, traffic(device.sent)]],
    ["Queued", count(device.queued)],
    ["Denied", count(device.denied)],
    ["Dropped", count(device.dropped)],
  ];
  return rows.map(([name, value]) => [h("dt", null, name), h("dd", null, value ?? "–")]);
}

function sessionTable(sessions) {
  if (sessions.length === 0) return h("p", { class: "muted" }, "None: it is not connected, and nothing is kept for it.");
  const cell = (label, ...children) => h("td", { role: "cell", "data-label": label }, children);
  const under = (text) => h("span", { class: "under" }, text);
  const head = ["Client id", "State", "Address", "Keep alive", "Subscriptions", "Queued"];
  return h("div", { class: "table-scroll" }, h("table", { class: "table table-cards table-plain", role: "table", "aria-label": "Sessions" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head.map((text) => h("th", { role: "columnheader", scope: "col" }, text)))),
    h("tbody", { role: "rowgroup" }, sessions.map((session) => h("tr", { role: "row" },
      h("td", { role: "cell", class: "whole" }, h("code", null, visible(session.client_id)),
        under(session.kept ? "stays when its connection ends" : "ends with its connection")),
      cell("State", status(session.online ? "online" : "offline", session.online ? "Online" : "Offline"),
        h("span", { class: "under" }, session.online ? ["for ", timeAgo(session.since, "age")] : ["heard ", timeAgo(session.last_heard)])),
      cell("Address", h("span", { class: "mono" }, session.address ?? "–"), session.address ? under(`${session.transport}, MQTT ${session.protocol}`) : null),
      cell("Keep alive", session.keep_alive == null ? "–" : session.keep_alive === 0 ? "none" : duration(session.keep_alive)),
      cell("Subscriptions", count(session.subscriptions)),
      cell("Queued", count(session.queued)))))));
}

function connectionTable(device, connections) {
  if (connections.length === 0) return h("p", { class: "muted" }, "None: it may do nothing until it is connected with another device.");
  return h("ul", { class: "peers" }, connections.map((connection) => {
    const isFrom = endOf(device, connection) === "from";
    const peer = isFrom ? connection.to : connection.from;
    const [out, back] = isFrom ? [connection.from_to, connection.to_from] : [connection.to_from, connection.from_to];
    const other = state.device(`${connection.user}.${peer.code}`);
    return h("li", null,
      h("div", { class: "peer-what" },
        h("a", { href: `/connections/${encodeURIComponent(connection.user)}/${encodeURIComponent(connection.id)}` }, h("bdi", null, visible(connection.name))),
        h("span", { class: "under" }, "with ", h("a", { href: `/devices/${encodeURIComponent(`${connection.user}.${peer.code}`)}` },
          h("bdi", null, visible(peer.name))), ` (${codeOf({ user: connection.user, code: peer.code })})`)),
      status(...(other ? deviceState(other) : ["offline", "Unknown"])),
      h("span", { class: "peer-figures" },
        h("span", null, h("span", { class: "muted" }, "sends "), rate(out?.rate)),
        h("span", null, h("span", { class: "muted" }, "gets "), rate(back?.rate)),
        h("span", null, h("span", { class: "muted" }, "waiting "), count((out?.waiting.messages ?? 0) + (back?.waiting.messages ?? 0)))));
  }));
}
