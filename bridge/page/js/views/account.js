// The administrator: password, tokens for programs, theme.

import { apiPath, get, post, remove } from "../api.js";
import { confirmDialog, formError, openDialog, sentence, toast } from "../dialog.js";
import { h, replace } from "../dom.js";
import { moment } from "../format.js";
import { icon } from "../icons.js";
import { copyButton, empty, field, timeAgo, viewHead } from "../parts.js";
import { changePassword, session } from "../session.js";
import { refresh } from "../router.js";

const SCOPES = {
  read: "Read: see everything, change nothing",
  write: "Write: all that this page can do with devices and connections, credentials included",
  metrics: "Metrics: /metrics only",
};

const THEMES = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]];

export default { path: "/account", title: "Account", still: true, render };

function render() {
  const { name, expires, version, host, password_is_initial: isInitial } = session.current;
  const element = h("div", { class: "stack account" },
    viewHead("Account"),
    isInitial ? h("div", { class: "notice notice-warning" },
      h("p", { class: "notice-title" }, "The first password is still in use"),
      h("p", null, "It stands in a file of the data directory, which is removed as soon as you change it here.")) : null,
    passwordCard(name), tokensCard(),
    h("section", { class: "card section", "aria-labelledby": "theme-head" }, h("h2", { id: "theme-head" }, "Theme"), themes()),
    h("section", { class: "card section", "aria-labelledby": "about-head" }, h("h2", { id: "about-head" }, "This bridge"),
      h("dl", { class: "facts" },
        h("dt", null, "Version"), h("dd", null, version),
        h("dt", null, "Host"), h("dd", null, host),
        h("dt", null, "Logged in until"), h("dd", null, h("time", { datetime: expires }, moment(expires))),
        h("dt", null, "API"), h("dd", null, h("a", { href: "/api/v1/openapi.json" }, "OpenAPI document")))));
  return { element };
}

function passwordCard(name) {
  const input = (autocomplete) => h("input", { type: "password", autocomplete, required: true, maxlength: "1024" });
  const current = field({ id: "current", label: "Current password", input: input("current-password") });
  const wanted = field({ id: "new", label: "New password", hint: "At least 10 characters. A few words that nobody would put together are good.", input: input("new-password") });
  const again = field({ id: "again", label: "New password, again", input: input("new-password") });
  const errors = h("div");
  const save = h("button", { class: "button button-primary", type: "submit" }, "Change password");

  async function submit(event) {
    event.preventDefault();
    replace(errors);
    current.setError(current.input.value ? null : "Enter the password that you logged in with.");
    wanted.setError(wanted.input.value ? null : "Enter a new password.");
    again.setError(again.input.value === wanted.input.value ? null : "This is not the same as above.");
    const wrong = [current, wanted, again].find(({ input: one }) => one.hasAttribute("aria-invalid"));
    if (wrong) return wrong.input.focus();
    save.disabled = true;
    try {
      await changePassword(current.input.value, wanted.input.value);
      toast("The password is changed. Other pages have to log in anew.");
      refresh();
    } catch (error) {
      refuse(error);
    } finally {
      save.disabled = false;
    }
  }

  function refuse(error) {
    const problems = error.problem?.problems ?? [];
    for (const { field: of, what, hint } of problems) {
      ({ current, new: wanted })[of]?.setError([what, hint].filter(Boolean).map(sentence).join(" "));
    }
    if (!problems.some(({ field: of }) => of === "current" || of === "new")) replace(errors, formError(error));
  }

  return h("section", { class: "card section", "aria-labelledby": "password-head" },
    h("h2", { id: "password-head" }, "Password"),
    h("form", { class: "fields account-form", novalidate: true, onsubmit: submit },
      h("input", { class: "visually-hidden", type: "text", autocomplete: "username", value: name, tabindex: "-1", "aria-hidden": "true", readOnly: true }),
      errors, current.element, wanted.element, again.element, h("div", null, save)));
}

function tokensCard() {
  const list = h("div", null, h("p", { class: "muted" }, "Loading …"));

  async function load() {
    try {
      const { tokens } = await get("/api/v1/tokens");
      replace(list, tokens.length ? tokenTable(tokens, revoke) : empty("No tokens", "A program that uses the API, or collects metrics, needs one."));
    } catch (error) {
      replace(list, formError(error));
    }
  }

  async function revoke(token) {
    const done = await confirmDialog({
      title: `Revoke ${token.name}`,
      body: h("p", null, "Whatever uses this token is refused from now on. It cannot be brought back."),
      action: "Revoke",
      danger: true,
      run: () => remove(apiPath("tokens", token.id)),
    });
    if (done) load();
  }

  load();
  return h("section", { class: "card section", "aria-labelledby": "tokens-head" },
    h("div", { class: "section-head" }, h("h2", { id: "tokens-head" }, "API tokens"),
      h("button", { class: "button button-small", type: "button", onclick: () => newToken(load) }, icon("plus"), "New token")),
    list);
}

function tokenTable(tokens, revoke) {
  const cell = (label, ...children) => h("td", { role: "cell", "data-label": label }, children);
  return h("table", { class: "table table-cards table-plain", role: "table", "aria-label": "API tokens" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      ["Name", "Scope", "Created", "Last used", ""].map((text) => (text
        ? h("th", { role: "columnheader", scope: "col" }, text) : h("td", { role: "cell" }))))),
    h("tbody", { role: "rowgroup" }, tokens.map((token) => h("tr", { role: "row" },
      h("td", { role: "cell", class: "whole" }, h("bdi", null, token.name)),
      cell("Scope", token.scope), cell("Created", timeAgo(token.created)), cell("Last used", token.last_used ? timeAgo(token.last_used) : h("span", { class: "muted" }, "not since the start")),
      h("td", { role: "cell", class: "number" },
        h("button", { class: "button button-small button-danger", type: "button", "aria-label": `Revoke ${token.name}`, onclick: () => revoke(token) }, "Revoke"))))));
}

async function newToken(load) {
  const name = field({ id: "token-name", label: "Name", hint: "Which program it is for.", input: h("input", { type: "text", maxlength: "100", autocomplete: "off" }) });
  const scopes = Object.entries(SCOPES).map(([value, text], index) => h("label", { class: "tick" },
    h("input", { type: "radio", name: "scope", value, checked: index === 0 }), h("span", null, text)));
  const dialog = openDialog({
    title: "New token",
    body: h("div", { class: "fields" }, name.element, h("fieldset", { class: "fieldset" }, h("legend", null, "What it may do"), scopes)),
    actions: [{ label: "Cancel" }, { label: "Make token", kind: "primary", run: make }],
  });

  function make() {
    name.setError(name.input.value.trim() ? null : "Give it a name, to know it by when you look for it later.");
    if (!name.input.value.trim()) return false;
    const scope = scopes.map((label) => label.firstElementChild).find(({ checked }) => checked).value;
    return post("/api/v1/tokens", { name: name.input.value.trim(), scope });
  }

  const made = await dialog.closed;
  if (!made) return;
  load();
  openDialog({
    title: `The token ${made.name}`,
    body: [
      h("p", null, "It is shown this once. Copy it now, and keep it where only the program finds it."),
      h("div", { class: "secret" }, h("code", { class: "code" }, made.token), copyButton(() => made.token, "Copy the token")),
      h("p", { class: "muted small" }, "Programs send it as ", h("code", null, "Authorization: Bearer …"), "."),
    ],
    actions: [{ label: "Done", kind: "primary" }],
  });
}

function themes() {
  const chosen = document.documentElement.dataset.theme ?? "system";
  const choose = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      if (theme === "system") localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch {
      toast("This browser does not let the page keep it: it is forgotten with this tab.");
    }
  };
  return h("div", { class: "segments", role: "radiogroup", "aria-labelledby": "theme-head" },
    THEMES.map(([value, text]) => h("label", null, h("input", { type: "radio", name: "theme", checked: value === chosen, onchange: () => choose(value) }), text)));
}
