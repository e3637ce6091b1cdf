// Questions, forms above the page, and short notices.

import { ApiError } from "./api.js";
import { h, replace } from "./dom.js";
import { icon } from "./icons.js";

let numbers = 0;

/**
 * What a dialog can be left with.
 * @typedef {Object} Action
 * @property {string} label
 * @property {"primary"|"danger"=} kind the one that Enter means
 * @property {boolean=} focus whether it has the focus at first, if there is no field
 * @property {*=} value what `closed` resolves to; without one and without `run`, null
 * @property {(function(): *)=} run does it: the dialog stays while it takes, stays if it returns false, and shows what it
 *   throws; anything else that it returns becomes the value
 */

/**
 * Opens a dialog. Escape and the click on its cross close it.
 * @param {{title: string, body: *, actions?: Array<Action>, wide?: boolean}} options
 * @returns {{element: HTMLDialogElement, close: function(*=), closed: Promise<*>, setBody: function(...*), setError: function(*), actions: Array<HTMLButtonElement>}}
 */
export function openDialog({ title, body, actions = [{ label: "Close" }], wide = false }) {
  numbers += 1;
  const id = `dialog-${numbers}`;
  const errors = h("div", { class: "dialog-errors" });
  const content = h("div", { class: "dialog-body" }, body);
  const returnTo = document.activeElement;
  let settle;
  let result = null;
  const closed = new Promise((resolve) => { settle = resolve; });

  const buttons = actions.map((action) => h("button", {
    class: ["button", action.kind === "primary" && "button-primary", action.kind === "danger" && "button-danger"],
    type: action.kind ? "submit" : "button",
    onclick: action.kind ? null : () => perform(action),
  }, action.label));

  const form = h("form", { method: "dialog", class: "dialog-form", novalidate: true, onsubmit: submitted },
    h("header", { class: "dialog-head" },
      h("h2", { id }, title),
      h("button", { class: "button button-icon", type: "button", "aria-label": "Close", onclick: () => close() }, icon("close"))),
    errors, content,
    h("footer", { class: "dialog-actions" }, buttons));
  const element = h("dialog", { class: ["dialog", wide && "dialog-wide"], "aria-labelledby": id, onclose: ended }, form);
  document.body.append(element);
  element.showModal();
  const first = content.querySelector("[autofocus], input:not([type=checkbox]), select, textarea")
    ?? buttons[actions.findIndex((action) => action.focus)] ?? buttons[0];
  first?.focus();

  function submitted(event) {
    event.preventDefault();
    const chosen = actions.findIndex((action) => action.kind);
    const pressed = buttons.indexOf(event.submitter);
    const action = actions[pressed >= 0 ? pressed : chosen];
    if (action) perform(action);
  }

  async function perform(action) {
    if (form.classList.contains("is-busy")) return;
    if (!action.run) return close(action.value ?? null);
    setError(null);
    form.classList.add("is-busy");
    try {
      const value = await action.run();
      if (value !== false) close(value ?? true);
    } catch (error) {
      setError(formError(error));
    } finally {
      form.classList.remove("is-busy");
    }
  }

  function setError(what) {
    replace(errors, what);
    if (what) errors.scrollIntoView({ block: "nearest" });
  }

  function close(value = null) {
    result = value;
    element.close();
  }

  function ended() {
    element.remove();
    if (returnTo instanceof HTMLElement && returnTo.isConnected) returnTo.focus();
    settle(result);
  }

  return { element, close, closed, setError, setBody: (...children) => replace(content, ...children), actions: buttons };
}

/**
 * Asks whether something is to be done.
 * @param {{title: string, body: *, action: string, danger?: boolean, acknowledge?: string, run?: function(): *}} options
 *   `acknowledge` is what has to be ticked first; `run` as in an action
 * @returns {Promise<*>} null if not; else true, or what `run` returned
 */
export function confirmDialog({ title, body, action, danger = false, acknowledge, run }) {
  const tick = acknowledge ? h("input", { type: "checkbox" }) : null;
  const dialog = openDialog({
    title,
    body: [body, tick ? h("label", { class: "tick" }, tick, h("span", null, acknowledge)) : null],
    actions: [{ label: "Cancel" }, { label: action, kind: danger ? "danger" : "primary", value: true, run }],
  });
  if (tick) {
    const button = dialog.actions[1];
    button.disabled = true;
    tick.addEventListener("change", () => { button.disabled = !tick.checked; });
  }
  return dialog.closed;
}

/**
 * A short notice that goes by itself.
 * @param {string} text
 */
export function toast(text) {
  // In the dialog that is open: what is behind it cannot be seen and is not read out.
  const place = document.querySelector("dialog[open]") ?? document.body;
  let region = place.querySelector(":scope > .toasts");
  if (!region) {
    region = h("div", { class: "toasts", role: "status" });
    place.append(region);
  }
  const notice = h("p", { class: "toast" }, text);
  region.append(notice);
  setTimeout(() => notice.remove(), 4000 + 60 * text.length);
}

/**
 * An error for people: what is wrong, where, and what to do.
 * @param {ApiError|Error|{detail?: string, title?: string, problems?: Array}} error
 * @returns {HTMLElement}
 */
export function formError(error) {
  const problem = error instanceof ApiError ? error.problem : error;
  const problems = problem.problems ?? [];
  if (error instanceof Error && !(error instanceof ApiError)) console.error(error);
  return h("div", { class: "notice notice-refused", role: "alert" },
    h("p", { class: "notice-title" }, sentence(problem.detail ?? problem.title ?? problem.message ?? "It did not work.")),
    problems.length ? h("ul", null, problems.map((one) => h("li", null,
      one.file ? [h("code", null, [one.file, one.line, one.column].filter((part) => part != null).join(":")), " "] : null,
      sentence(one.what ?? ""),
      one.hint ? [" ", h("span", { class: "muted" }, sentence(one.hint))] : null))) : null);
}

/** "this is wrong" → "This is wrong." @param {string} text */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return begun === "" || /[.!?:]$/.test(begun) ? begun : `${begun}.`;
}
