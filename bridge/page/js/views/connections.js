// All connections, a card each.

import { ConnectionCard } from "../connection-card.js";
import { usernameOf, queuedOf } from "../connections.js";
import { createConnection } from "../create-connection.js";
import { deleteConnection } from "../delete-connection.js";
import { h, replace, setText } from "../dom.js";
import { plural } from "../format.js";
import { icon } from "../icons.js";
import { empty, viewHead } from "../parts.js";
import { onRates } from "../rates.js";
import { setQuery } from "../router.js";
import { state } from "../state.js";

const rateOf = ({ from_to, to_from }) => (from_to?.rate ?? 0) + (to_from?.rate ?? 0);
const lastOf = ({ from_to, to_from }) => Math.max(Date.parse(from_to?.last ?? 0), Date.parse(to_from?.last ?? 0));
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** How they can be sorted; figures are the largest first. */
const ORDERS = {
  file: { text: "As in connections.json", compare: () => 0 },
  name: { text: "Name", compare: (a, b) => collator.compare(a.name, b.name) },
  traffic: { text: "Traffic", compare: (a, b) => rateOf(b) - rateOf(a), moves: true },
  queued: { text: "Queued messages", compare: (a, b) => queuedOf(b) - queuedOf(a), moves: true },
  last: { text: "Last message", compare: (a, b) => lastOf(b) - lastOf(a), moves: true },
};
/** Milliseconds between two sortings by what changes all the time: cards that jump cannot be pressed. */
const SORT_EVERY = 5000;

export default {
  path: "/connections",
  title: "Connections",
  render(_, query) {
    const cards = new Map();
    let wanted = query.get("text") ?? "";
    let order = query.get("sort") in ORDERS ? query.get("sort") : "file";

    const grid = h("div", { class: "cards" });
    const summary = h("p", { class: "filter-summary", role: "status" });
    const none = h("div");
    const search = h("input", {
      type: "search", value: wanted, placeholder: "Name, device, code …", "aria-label": "Show only connections with this text",
      oninput: () => {
        wanted = search.value;
        arrange();
      },
    });
    const sort = h("select", {
      onchange: () => {
        order = sort.value;
        arrange();
      },
    }, Object.entries(ORDERS).map(([value, { text }]) => h("option", { value, selected: value === order }, text)));
    const create = () => createConnection();

    const sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) cards.get(target.dataset.key)?.see(isIntersecting);
    }, { rootMargin: "200px" });

    /** Cards for the connections that there are now. */
    function renew() {
      const present = new Set(state.current.connections.map(cardKey));
      for (const [key, card] of cards) {
        if (present.has(key)) continue;
        sight.unobserve(card.element);
        cards.delete(key);
      }
      for (const connection of state.current.connections) {
        if (cards.has(cardKey(connection))) continue;
        const card = new ConnectionCard(connection, { remove: deleteConnection });
        card.element.dataset.key = cardKey(connection);
        cards.set(cardKey(connection), card);
        sight.observe(card.element);
      }
      arrange();
    }

    function arrange() {
      setQuery({ text: wanted, sort: order === "file" ? null : order });
      const all = state.current.connections;
      const words = wanted.trim().toLowerCase().split(/\s+/);
      const matching = all.filter((connection) => words.every((word) => textOf(connection).includes(word)));
      const elements = matching.sort(ORDERS[order].compare).map((connection) => cards.get(cardKey(connection)).element);
      placeIn(grid, elements);
      const number = plural(all.length, "connection");
      setText(summary, all.length === matching.length ? number : `${matching.length} of ${number}`);
      if (all.length === 0) {
        replace(none, empty("No connections yet", "Two devices can exchange messages when there is a connection between them.",
          h("button", { class: "button button-primary", type: "button", onclick: create }, icon("plus"), "Create connection")));
      } else {
        replace(none, matching.length ? null : empty("Nothing matches", `No connection has “${wanted.trim()}” in its name, id or devices.`));
      }
    }

    const ends = [
      state.onChange(({ whole, devices, connections }) => {
        if (whole) renew();
        for (const card of cards.values()) {
          if (!card.isSeen) continue;
          const isOf = whole || connections.has(card.key) || card.usernames.some((username) => devices.has(username));
          if (isOf) card.update();
        }
      }),
      onRates(() => cards.forEach((card) => card.isSeen && card.draw())),
    ];
    const timer = setInterval(() => {
      // Neither under the pointer nor under the focus.
      if (ORDERS[order].moves && !grid.matches(":hover, :focus-within")) arrange();
    }, SORT_EVERY);

    renew();
    const element = h("div", { class: "connections" },
      viewHead("Connections", {
        lead: "Each lets exactly two devices talk to each other.",
        actions: [h("button", { class: "button button-primary", type: "button", onclick: create }, icon("plus"), "Create connection")],
      }),
      h("div", { class: "filters" },
        h("div", { class: "search" }, icon("search"), search),
        h("label", { class: "sort-by" }, h("span", null, "Sort by"), sort),
        summary),
      grid, none);
    const leave = () => {
      sight.disconnect();
      clearInterval(timer);
      ends.forEach((end) => end());
    };
    return { element, leave };
  },
};

/** What a card is made for: with other devices or another name, it is another card. */
function cardKey({ key, name, from, to }) {
  return JSON.stringify([key, name, from, to]);
}

function textOf(connection) {
  const { key, name, from, to } = connection;
  const names = [from, to].flatMap((end) => [end.name, end.code, usernameOf(connection, end)]);
  return [key, name, ...names].join(" ").toLowerCase();
}

/** Puts elements into this order and moves only those that stand elsewhere. */
function placeIn(parent, elements) {
  const wanted = new Set(elements);
  [...parent.children].filter((child) => !wanted.has(child)).forEach((child) => child.remove());
  elements.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
}
