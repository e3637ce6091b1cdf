// What happens now: who connects, who is refused and why, what is denied, lost or changed.

import { EventList } from "../event-list.js";
import { KINDS } from "../events.js";
import { h, setAttribute, setText } from "../dom.js";
import { count } from "../format.js";
import { icon } from "../icons.js";
import { empty, viewHead } from "../parts.js";
import { setQuery } from "../router.js";

/** As many as the bridge itself remembers. */
const MOST = 1000;
/** Kinds to choose from; the others are always shown. */
const CHOICES = ["connected", "disconnected", "refused", "denied", "full", "limit", "store", "configuration", "page"];

export default {
  path: "/live",
  title: "Live",
  render(_, query) {
    const kinds = new Set((query.get("kinds") ?? "").split(",").filter((kind) => CHOICES.includes(kind)));
    let wanted = query.get("text") ?? "";

    const list = new EventList({
      label: "Events, newest first",
      query: `limit=${MOST}`,
      most: MOST,
      none: empty("Nothing has happened yet", "Devices that connect, are refused or denied something appear here at once."),
      onWaiting: showPause,
    });

    const pauseText = h("span");
    const pause = h("button", { class: "button pause", type: "button", onclick: () => list.pause(!list.isPaused) }, pauseText);
    const search = h("input", {
      type: "search", value: wanted, placeholder: "Device, address, topic …", "aria-label": "Show only events with this text",
      oninput: () => {
        wanted = search.value;
        refilter();
      },
    });
    const chips = CHOICES.map((kind) => {
      const [word, mark] = KINDS[kind];
      return h("button", {
        class: `chip chip-${mark}`, type: "button", "aria-pressed": String(kinds.has(kind)),
        onclick: ({ currentTarget }) => {
          if (!kinds.delete(kind)) kinds.add(kind);
          setAttribute(currentTarget, "aria-pressed", String(kinds.has(kind)));
          refilter();
        },
      }, word);
    });

    function refilter() {
      setQuery({ kinds: [...kinds].join(","), text: wanted });
      const text = wanted.trim().toLowerCase();
      const isOfKind = (kind) => kinds.size === 0 || kinds.has(kind) || !CHOICES.includes(kind);
      list.filter((event, words) => isOfKind(event.kind) && words.includes(text));
    }

    function showPause() {
      const waiting = list.waiting.length;
      const many = waiting === MOST ? " or more" : "";
      setText(pauseText, !list.isPaused ? "Pause" : waiting ? `Resume (${count(waiting)}${many} waiting)` : "Resume");
      pause.classList.toggle("is-paused", list.isPaused);
    }

    showPause();
    refilter();
    const element = h("div", { class: "live" },
      viewHead("Live", {
        lead: "What happens now, newest first.",
        actions: [pause, h("button", { class: "button", type: "button", onclick: () => list.clear() }, "Clear")],
      }),
      h("div", { class: "filters" },
        h("div", { class: "search" }, icon("search"), search),
        h("div", { class: "chips", role: "group", "aria-label": "Show only these kinds" }, chips)),
      h("section", { class: "card card-list" }, list.element));
    return { element, leave: () => list.leave() };
  },
};
