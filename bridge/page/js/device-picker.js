// Chooses a device by typing a part of its name or code: a combobox as the pattern for them says.

import { h, replace, setAttribute } from "./dom.js";
import { codeOf } from "./format.js";
import { deviceState, status } from "./parts.js";
import { named } from "./visible.js";

/** How many are offered at once; more are found by typing more. */
const MOST = 50;
let numbers = 0;

/**
 * @param {object} options
 * @param {function(): Object[]} options.devices those to choose from, as the state has them
 * @param {function(Object?)} options.onChoice is called with what is chosen, null while nothing is
 * @returns {{element: HTMLElement, input: HTMLInputElement, choose: function(Object)}}
 */
export function devicePicker({ devices, onChoice }) {
  numbers += 1;
  const id = `picker-${numbers}`;
  const list = h("ul", { class: "picker-list", role: "listbox", id, "aria-label": "Devices", hidden: true });
  const input = h("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder: "Name or code",
    "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list",
    oninput: () => {
      take(null);
      open();
    },
    onclick: () => (list.hidden ? open() : null),
    onkeydown: press,
    onblur: leave,
  });
  let offered = [];
  let marked = -1;
  let chosen = null;

  function open() {
    const words = chosen ? [] : input.value.trim().toLowerCase().split(/\s+/);
    const text = ({ name, code, username, type }) => `${name} ${code} ${username} ${type}`.toLowerCase();
    const found = devices().filter((device) => words.every((word) => text(device).includes(word)));
    offered = found.slice(0, MOST);
    const more = found.length - offered.length;
    replace(list, offered.map(option),
      more > 0 ? h("li", { class: "picker-more", role: "presentation" }, `${more} more: type to find them`) : null,
      found.length === 0 ? h("li", { class: "picker-more", role: "presentation" }, "No device matches") : null);
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(offered.length && input.value ? Math.max(0, offered.indexOf(chosen)) : -1);
  }

  function option(device, index) {
    // The button is pressed before the field is left, so that leaving does not close the list first.
    const onpointerdown = (event) => {
      event.preventDefault();
      choose(device);
    };
    return h("li", { class: "picker-option", role: "option", id: `${id}-${index}`, "aria-selected": "false", onpointerdown },
      h("span", { class: "picker-name" }, named(device.name), " ", h("code", null, codeOf(device))),
      h("span", { class: "picker-about" }, named(device.type), status(...deviceState(device))));
  }

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  }

  function mark(index) {
    marked = index;
    [...list.querySelectorAll("[role=option]")].forEach((element, number) => {
      element.setAttribute("aria-selected", String(number === index));
      if (number === index) element.scrollIntoView({ block: "nearest" });
    });
    setAttribute(input, "aria-activedescendant", index < 0 ? null : `${id}-${index}`);
  }

  function press(event) {
    const isOpen = !list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen) return open();
      const step = event.key === "ArrowDown" ? 1 : -1;
      const from = marked < 0 && step < 0 ? 0 : marked;
      if (offered.length) mark((from + step + offered.length) % offered.length);
    } else if (event.key === "Enter" && isOpen && offered[marked]) {
      event.preventDefault();
      choose(offered[marked]);
    } else if (event.key === "Escape" && isOpen) {
      // Closes the list and not the dialog around it.
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  }

  /** What was typed in full need not be chosen from the list. */
  function leave() {
    if (!chosen && input.value.trim()) {
      const typed = input.value.trim().toLowerCase();
      const isIt = (text) => String(text).toLowerCase() === typed;
      const exact = devices().filter(({ name, code, username }) => [name, code, username].some(isIt));
      if (exact.length === 1) choose(exact[0]);
    }
    close();
  }

  function choose(device) {
    input.value = `${device.name} (${codeOf(device)})`;
    take(device);
    close();
  }

  function take(device) {
    if (device === chosen) return;
    chosen = device;
    onChoice(device);
  }

  const element = h("div", { class: "picker field-row" }, input, list);
  return { element, input, choose };
}
