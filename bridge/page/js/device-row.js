// A device as a row of the table, or as a card on a phone. It is made once, then only what changes is written.

import { h, replace, setAttribute, setText } from "./dom.js";
import { codeOf, count, rateNumber } from "./format.js";
import { deviceState, setStatus, setTime, status, timeAgo } from "./parts.js";
import { visible } from "./visible.js";

/** The columns: the word above, how devices are sorted by it, and whether the largest come first. */
export const COLUMNS = [
  { id: "name", text: "Device", key: ({ name }) => name },
  { id: "code", text: "Code", key: ({ code }) => String(code) },
  { id: "state", text: "State", key: stateKey },
  { id: "address", text: "Address", key: (device) => link(device)?.address },
  { id: "client", text: "Client", key: (device) => link(device)?.client_id },
  { id: "in", text: "In /s", title: "Messages a second from it", key: ({ rates }) => rates?.received ?? 0, isNumber: true },
  { id: "out", text: "Out /s", title: "Messages a second to it", key: ({ rates }) => rates?.sent ?? 0, isNumber: true },
  { id: "queued", text: "Queued", title: "QoS 1 and 2 messages that wait for it or are on their way", key: ({ queued }) => queued ?? 0, isNumber: true },
  { id: "denied", text: "Denied", title: "What it was refused because it may not publish or subscribe to it", key: ({ denied }) => denied ?? 0, isNumber: true },
];

/** The session that says where a device is: the first, which is connected if one is. */
export function link(device) {
  const session = device.sessions?.[0];
  return session?.online ? session : null;
}

export class DeviceRow {
  /** @param {Object} device */
  constructor(device) {
    this.name = h("a", { class: "device-name", href: `/devices/${encodeURIComponent(device.username)}` });
    this.kind = h("span", { class: "under" });
    this.state = status("offline", "");
    this.since = timeAgo(null);
    this.sinceWord = h("span");
    this.when = h("span", { class: "under" }, this.sinceWord, this.since);
    this.address = h("span", { class: "mono address" });
    this.transport = h("span", { class: "under" });
    this.client = h("span", { class: "mono client" });
    this.protocol = h("span", { class: "under" });
    this.code = h("td", { role: "cell", class: "column-code mono", "data-label": "Code" });
    this.numbers = COLUMNS.filter((column) => column.isNumber)
      .map((column) => h("td", { role: "cell", class: `number column-${column.id}`, "data-label": column.text, title: column.title }));
    this.element = h("tr", { role: "row" },
      h("td", { role: "cell", class: "column-name whole" }, h("bdi", null, this.name), this.kind),
      this.code,
      h("td", { role: "cell", class: "column-state" }, this.state, this.when),
      h("td", { role: "cell", class: "column-address", "data-label": "Address" }, this.address, this.transport),
      h("td", { role: "cell", class: "column-client", "data-label": "Client" }, this.client, this.protocol),
      this.numbers);
    this.show(device);
  }

  /** @param {Object} device as it is now */
  show(device) {
    // An entry that changed is another object: what is the same has been shown.
    if (this.device === device) return;
    if (this.device?.name !== device.name) replace(this.name, visible(device.name));
    if (this.device?.type !== device.type) replace(this.kind, visible(device.type));
    // What a user is called may be long: a line may end behind it.
    if (!this.device) replace(this.code, codeOf(device).split(/(?<=\.)/).map((part, index) => [index ? h("wbr") : null, part]));
    this.device = device;
    setStatus(this.state, deviceState(device));
    setText(this.sinceWord, device.online ? "for " : device.last_seen ? "seen " : "never seen");
    this.since.hidden = !device.online && !device.last_seen;
    this.since.dataset.style = device.online ? "age" : "ago";
    setTime(this.since, device.online ? device.online_since : device.last_seen);
    const session = link(device);
    setText(this.address, session?.address ?? "–");
    setAttribute(this.address.parentElement, "title", session?.address);
    setText(this.transport, session?.transport ?? "");
    setText(this.client, session?.client_id ?? "–");
    setAttribute(this.client.parentElement, "title", session?.client_id);
    setText(this.protocol, session ? `MQTT ${session.protocol}${more(device)}` : "");
    const { rates, queued, denied } = device;
    [rateNumber(rates?.received), rateNumber(rates?.sent), count(queued), count(denied)].forEach((text, index) => {
      setText(this.numbers[index], text);
      this.numbers[index].classList.toggle("is-none", text === "0" || text === "–");
    });
    this.numbers[3].classList.toggle("is-bad", denied > 0);
  }
}

function more(device) {
  const others = device.sessions.filter((session) => session.online).length - 1;
  return others > 0 ? `, and ${others} more` : "";
}

/** Online devices that came last, then those that were seen last, then the disabled ones. */
function stateKey(device) {
  const when = Date.parse(device.online ? device.online_since : device.last_seen) || 0;
  return (device.disabled ? 2 : device.online ? 0 : 1) * 1e14 - when;
}
