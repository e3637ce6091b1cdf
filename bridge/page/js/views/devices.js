// All devices: a table that stays where one looks while its figures change.

import { addDevice } from "../add-device.js";
import { COLUMNS, DeviceRow } from "../device-row.js";
import { h, replace, setAttribute, setText } from "../dom.js";
import { count, plural } from "../format.js";
import { icon } from "../icons.js";
import { empty, viewHead } from "../parts.js";
import { setQuery } from "../router.js";
import { state } from "../state.js";

/** Rows that are shown at once; further ones come when one gets there. */
const PAGE = 150;
/** Milliseconds between two sortings by what changes all the time. */
const SORT_EVERY = 5000;

const STATES = [
  { id: "all", text: "All", has: () => true },
  { id: "online", text: "Online", has: ({ online, disabled }) => online && !disabled },
  { id: "offline", text: "Offline", has: ({ online, disabled }) => !online && !disabled },
  { id: "disabled", text: "Disabled", has: ({ disabled }) => disabled },
];

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

export default { path: "/devices", title: "Devices", render: (_, query) => new Devices(query) };

class Devices {
  constructor(query) {
    this.rows = new Map();
    this.most = PAGE;
    this.wanted = query.get("text") ?? "";
    this.only = STATES.find(({ id }) => id === query.get("state")) ?? STATES[0];
    const sort = query.get("sort") ?? "";
    this.column = COLUMNS.find(({ id }) => id === sort.replace("-", "")) ?? null;
    this.descending = sort.startsWith("-");

    this.heads = COLUMNS.map((column) => this.head(column));
    this.body = h("tbody", { role: "rowgroup" });
    this.frame = h("div", { class: "table-frame" },
      h("table", { class: "table devices-table", role: "table", "aria-label": "Devices" },
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, this.heads)), this.body));
    this.none = h("div");
    this.end = h("button", { class: "button", type: "button", hidden: true, onclick: () => this.showMore() });
    this.summary = h("p", { class: "filter-summary muted", role: "status" });
    this.counts = STATES.map(() => h("span", { class: "segment-count" }));
    this.element = h("div", { class: "devices" },
      viewHead("Devices", {
        actions: [h("button", { class: "button button-primary", type: "button", onclick: addDevice }, icon("plus"), "Add device")],
      }),
      (this.filterBar = this.filters()), this.frame, this.none, h("div", { class: "list-end" }, this.end));

    this.sight = new IntersectionObserver(([entry]) => entry.isIntersecting && this.showMore(), { rootMargin: "600px" });
    this.sight.observe(this.end);
    this.unsubscribe = state.onChange((changed) => this.take(changed));
    this.timer = setInterval(() => this.sortAgain(), SORT_EVERY);
    this.renew();
  }

  leave() {
    this.sight.disconnect();
    this.unsubscribe();
    clearInterval(this.timer);
  }

  filters() {
    const search = h("input", {
      type: "search", value: this.wanted, placeholder: "Name, code, type, address …", "aria-label": "Show only devices with this text",
      autocomplete: "off", spellcheck: "false",
      oninput: () => this.choose({ wanted: search.value }),
    });
    const chooseState = STATES.map((one, index) => h("label", null,
      h("input", { type: "radio", name: "device-state", checked: one === this.only, onchange: () => this.choose({ only: one }) }),
      one.text, this.counts[index]));
    const sorts = [h("option", { value: "" }, "As in devices.json"), COLUMNS.map((column) => h("option", { value: column.id, selected: column === this.column }, column.text))];
    this.select = h("select", {
      id: "device-sort",
      onchange: () => {
        const column = COLUMNS.find(({ id }) => id === this.select.value) ?? null;
        this.choose({ column, descending: column?.isNumber ?? false });
      },
    }, sorts);
    return h("div", { class: "filters" },
      h("div", { class: "search" }, icon("search"), search),
      h("div", { class: "segments", role: "radiogroup", "aria-label": "State" }, chooseState),
      // On a phone there are no heads to press.
      h("div", { class: "sort-by" }, h("label", { htmlFor: "device-sort" }, "Sort by"), this.select),
      this.summary);
  }

  head(column) {
    const press = () => {
      // Figures begin with the largest; a third press gives the order of the file back.
      const first = column.isNumber ?? false;
      if (this.column !== column) this.choose({ column, descending: first });
      else if (this.descending === first) this.choose({ column, descending: !first });
      else this.choose({ column: null, descending: false });
    };
    return h("th", { role: "columnheader", scope: "col", class: [`column-${column.id}`, column.isNumber && "number"], title: column.title },
      h("button", { class: "sort", type: "button", onclick: press }, column.text, icon("sorted")));
  }

  choose(what) {
    Object.assign(this, what);
    this.most = PAGE;
    this.select.value = this.column?.id ?? "";
    setQuery({
      text: this.wanted.trim(),
      state: this.only.id === "all" ? null : this.only.id,
      sort: this.column && (this.descending ? `-${this.column.id}` : this.column.id),
    });
    this.arrange();
  }

  take({ whole, devices }) {
    if (whole) return this.renew();
    for (const username of devices) {
      const row = this.rows.get(username);
      if (row?.element.isConnected) row.show(state.device(username));
    }
    // Who comes or goes belongs in or out of a list of those online; a row under the pointer or the focus stays till later.
    if (this.showCounts() && this.only.id !== "all" && !this.isHeld()) this.arrange();
  }

  /** Takes up other devices than there were. */
  renew() {
    const present = new Set(state.current.devices.map(({ username }) => username));
    for (const username of this.rows.keys()) if (!present.has(username)) this.rows.delete(username);
    this.showCounts();
    this.arrange();
  }

  /** The row of a device as it is now; most of thousands are never looked at, so it is made when it is to be shown. */
  row(device) {
    const row = this.rows.get(device.username);
    if (row) {
      row.show(device);
      return row;
    }
    const made = new DeviceRow(device);
    this.rows.set(device.username, made);
    return made;
  }

  sortAgain() {
    const moves = this.column && !["name", "code"].includes(this.column.id);
    if ((moves || this.only.id !== "all") && !this.isHeld()) this.arrange();
  }

  isHeld() {
    return this.body.matches(":hover, :focus-within") || !document.getSelection().isCollapsed;
  }

  showMore() {
    this.most += PAGE;
    this.arrange();
  }

  arrange() {
    const words = this.wanted.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const all = state.current.devices;
    const matching = all.filter((device) => this.only.has(device) && hasWords(device, words));
    if (this.column) matching.sort((a, b) => this.compare(a, b));
    placeIn(this.body, matching.slice(0, this.most).map((device) => this.row(device).element));

    const left = matching.length - this.most;
    this.end.hidden = left <= 0;
    setText(this.end, `Show more, ${count(left)} are left`);
    this.frame.hidden = matching.length === 0;
    this.filterBar.hidden = all.length === 0;
    setText(this.summary, matching.length === all.length ? "" : `${count(matching.length)} of ${plural(all.length, "device")}`);
    replace(this.none, this.nothing(all.length, matching.length));
    this.heads.forEach((head, index) => setAttribute(head, "aria-sort",
      COLUMNS[index] === this.column ? (this.descending ? "descending" : "ascending") : null));
  }

  compare(a, b) {
    const [x, y] = [this.column.key(a), this.column.key(b)];
    // What is not known comes last, whichever way it is sorted.
    if (x == null || y == null) return (x == null) - (y == null);
    const order = typeof x === "number" ? x - y : collator.compare(x, y);
    return this.descending ? -order : order;
  }

  /** @returns {boolean} whether they are others than before */
  showCounts() {
    const counts = STATES.map(({ has }) => count(state.current.devices.filter(has).length));
    const before = this.counts.map((element) => element.textContent);
    this.counts.forEach((element, index) => setText(element, counts[index]));
    return counts.join() !== before.join();
  }

  nothing(all, matching) {
    if (matching > 0) return null;
    if (all > 0) return empty("Nothing matches", "No device has this text and this state.");
    return empty("No devices yet", "A device is one program on one machine. Add two, and connect them.",
      h("button", { class: "button button-primary", type: "button", onclick: addDevice }, icon("plus"), "Add device"));
  }
}

/** Whether each of the words, in lower case, is somewhere in what the table shows of the device. */
function hasWords(device, words) {
  if (words.length === 0) return true;
  const sessions = (device.sessions ?? []).flatMap((session) => [session.client_id, session.address, session.transport]);
  const text = [device.name, device.username, device.type, ...device.connections, ...sessions].filter(Boolean).join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Puts elements into this order; moves only those that stand elsewhere, and leaves the focus where it was. */
function placeIn(parent, elements) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Set(elements);
  [...parent.children].filter((child) => !wanted.has(child)).forEach((child) => child.remove());
  let next = parent.firstElementChild;
  for (const element of elements) {
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}
