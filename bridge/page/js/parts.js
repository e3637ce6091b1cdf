// Small parts that all views are made of.

import { h, setAttribute, setText } from "./dom.js";
import { ago, age, moment } from "./format.js";
import { icon } from "./icons.js";
import { toast } from "./dialog.js";

/**
 * A dot and the word for it; the colour says nothing that the word does not.
 * @param {"online"|"offline"|"warning"|"refused"} kind
 * @param {string} word
 */
export function status(kind, word) {
  return h("span", { class: `status status-${kind}` }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", null, word));
}

/** @param {Object} device @returns {["online"|"offline"|"refused"|"warning", string]} kind and word of its state */
export function deviceState(device) {
  if (device.disabled) return ["refused", "Disabled"];
  return device.online ? ["online", "Online"] : ["offline", "Offline"];
}

/** Changes what `status` made. */
export function setStatus(element, [kind, word]) {
  setAttribute(element, "class", `status status-${kind}`);
  setText(element.lastElementChild, word);
}

/**
 * How long ago something was, kept true while it is shown.
 * @param {string?} time RFC 3339
 * @param {"ago"|"age"} style "3 min ago" or "3 min"
 */
export function timeAgo(time, style = "ago") {
  const element = h("time", { "data-style": style });
  setTime(element, time);
  return element;
}

/** Changes the moment of what `timeAgo` made. */
export function setTime(element, time) {
  setAttribute(element, "datetime", time);
  setAttribute(element, "title", time ? moment(time) : null);
  refreshTime(element);
}

function refreshTime(element) {
  const time = element.getAttribute("datetime");
  setText(element, element.dataset.style === "age" ? age(time) : ago(time));
}

setInterval(() => document.querySelectorAll("time[data-style]").forEach(refreshTime), 2000);

/**
 * A button that copies a text and says so.
 * @param {function(): string} text
 * @param {string} label what is copied, for screen readers: "Copy the token"
 */
export function copyButton(text, label = "Copy") {
  return h("button", {
    class: "button button-small",
    type: "button",
    "aria-label": label,
    onclick: async () => {
      toast((await copy(text())) ? "Copied." : "This browser does not let the page copy: select the text and copy it by hand.");
    },
  }, icon("copy"), "Copy");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard is for pages over TLS and of this machine only; the older way is for all.
    const field = h("textarea", { class: "visually-hidden", value: text, readonly: true });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}

/**
 * A field with its label, a hint and a place for its error, tied together for screen readers.
 * @param {{id: string, label: string, hint?: string, input: HTMLElement}} parts
 * @returns {{element: HTMLElement, input: HTMLElement, setError: function(string?)}}
 */
export function field({ id, label, hint, input }) {
  input.id = id;
  const error = h("p", { class: "field-error", id: `${id}-error`, "aria-live": "polite" });
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  const element = h("div", { class: "field" },
    h("label", { htmlFor: id }, label),
    input.closest(".field-row") ?? input,
    hint ? h("p", { class: "field-hint", id: `${id}-hint` }, hint) : null,
    error);
  return {
    element,
    input,
    setError(text) {
      setText(error, text ?? "");
      element.classList.toggle("is-wrong", Boolean(text));
      setAttribute(input, "aria-invalid", text ? "true" : null);
      setAttribute(input, "aria-describedby", [text && `${id}-error`, hint && `${id}-hint`].filter(Boolean).join(" ") || null);
    },
  };
}

/**
 * What is shown where there is nothing yet.
 * @param {string} title
 * @param {string} text what to do
 * @param {...*} actions
 */
export function empty(title, text, ...actions) {
  return h("div", { class: "empty" },
    h("p", { class: "empty-title" }, title),
    h("p", null, text),
    actions.length ? h("div", { class: "actions" }, actions) : null);
}

/**
 * The head of a view.
 * @param {*} title
 * @param {{lead?: *, actions?: Array, back?: {href: string, text: string}}} options
 */
export function viewHead(title, { lead, actions, back } = {}) {
  return h("header", { class: "view-head" },
    h("div", { class: "view-title" },
      back ? h("a", { class: "back", href: back.href }, icon("back"), back.text) : null,
      h("h1", null, title),
      lead ? h("p", { class: "lead" }, lead) : null),
    actions ? h("div", { class: "actions" }, actions) : null);
}
