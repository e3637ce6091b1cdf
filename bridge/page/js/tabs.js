// Tabs: one of several panels is shown. Arrow keys choose, as the pattern for them says.

import { h, replace } from "./dom.js";

let numbers = 0;

/**
 * @param {{title: string, panel: function(): *}[]} items at least one; `panel` makes what is shown when it is chosen
 * @param {string} label what all of them are
 * @returns {HTMLElement}
 */
export function tabs(items, label) {
  numbers += 1;
  const id = `tabs-${numbers}`;
  const panel = h("div", { class: "tab-panel", role: "tabpanel", id: `${id}-panel` });
  const buttons = items.map(({ title }, index) => h("button", {
    class: "tab", type: "button", role: "tab", id: `${id}-${index}`, "aria-controls": panel.id, onclick: () => choose(index),
  }, title));

  function choose(chosen) {
    buttons.forEach((button, index) => {
      button.setAttribute("aria-selected", String(index === chosen));
      button.setAttribute("tabindex", index === chosen ? "0" : "-1");
    });
    panel.setAttribute("aria-labelledby", buttons[chosen].id);
    replace(panel, items[chosen].panel());
  }

  function press(event) {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const chosen = (to + buttons.length) % buttons.length;
    choose(chosen);
    buttons[chosen].focus();
  }

  choose(0);
  const list = h("div", { class: "tab-list", role: "tablist", "aria-label": label, onkeydown: press }, buttons);
  return h("div", { class: "tabs" }, list, panel);
}
