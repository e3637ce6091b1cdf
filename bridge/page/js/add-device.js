// The dialog that adds a device, and says what comes next.

import { ApiError, post } from "./api.js";
import { change, seen } from "./changes.js";
import { createConnection } from "./create-connection.js";
import { formError, openDialog, sentence } from "./dialog.js";
import { h, setText } from "./dom.js";
import { field } from "./parts.js";
import { navigate } from "./router.js";
import { state } from "./state.js";

/** Milliseconds without a key before the bridge is asked whether it would do. */
const PAUSE = 250;
const CODE = /^[\w-]{1,32}$/;

/** Opens it. */
export function addDevice() {
  new Form().open();
}

class Form {
  constructor() {
    this.before = seen();
    this.touched = new Set();
    this.asked = 0;
    /** Whether its code or its user would not do. */
    this.isRefused = false;
    const input = (name, more) => h("input", {
      type: "text", autocomplete: "off", spellcheck: "false", ...more,
      oninput: () => this.typed(name), onblur: () => this.left(name),
    });
    this.fields = {
      code: field({
        id: "device-code", label: "Code",
        hint: "1 to 32 of A-Z a-z 0-9 _ -. It tells devices apart and is part of topics; it cannot be changed later.",
        input: input("code", { maxlength: "40", required: true, autocapitalize: "none", autocorrect: "off", autofocus: true }),
      }),
      name: field({ id: "device-name", label: "Name (optional)", hint: "For people. Without one, the code is its name.", input: input("name", { maxlength: "120" }) }),
      type: field({ id: "device-type", label: "Type (optional)", hint: "What kind of machine it is.", input: input("type", { maxlength: "120", list: "device-types" }) }),
      user: field({ id: "device-user", label: "User", hint: "Its owner. Only devices of the same user can be connected.", input: input("user", { maxlength: "40", value: "default", autocapitalize: "none", list: "device-users" }) }),
    };
    this.preview = h("div", { class: "field-hint", role: "status" });
  }

  open() {
    const users = new Set(state.current.devices.map((device) => device.user));
    const types = new Set(["Raspberry Pi", "ESP32", "Arduino", ...state.current.devices.map((device) => device.type)]);
    const options = (id, values) => h("datalist", { id }, [...values].sort().slice(0, 200).map((value) => h("option", { value })));
    const hasUsers = [...users].some((user) => user !== "default");
    this.dialog = openDialog({
      title: "Add device",
      body: h("div", { class: "fields" },
        this.fields.code.element, this.preview, this.fields.name.element, this.fields.type.element,
        hasUsers ? this.fields.user.element : h("details", { class: "more" }, h("summary", null, "Another user"), this.fields.user.element),
        options("device-types", types), options("device-users", users)),
      actions: [{ label: "Cancel" }, { label: "Add device", kind: "primary", run: () => this.add() }],
    });
    this.dialog.closed.then(() => clearTimeout(this.timer));
  }

  body() {
    const value = (name) => this.fields[name].input.value.trim();
    const body = { code: value("code") };
    if (value("name")) body.name = value("name");
    if (value("type")) body.type = value("type");
    if (value("user") && value("user") !== "default") body.user = value("user");
    return body;
  }

  typed(name) {
    this.touched.add(name);
    this.showPreview();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), PAUSE);
  }

  /** What it will log in with, while nothing speaks against that. */
  showPreview() {
    const { code, user = "default" } = this.body();
    setText(this.preview, CODE.test(code) && !this.isRefused ? `It will log in as ${user}.${code}` : "");
  }

  left(name) {
    // An empty field that was only passed is no mistake yet.
    if (this.touched.has(name)) this.check();
  }

  async check() {
    clearTimeout(this.timer);
    this.asked += 1;
    const mine = this.asked;
    try {
      await post("/api/v1/devices?dry_run=true", this.body());
      if (mine === this.asked) this.refuse([]);
    } catch (error) {
      if (mine !== this.asked || !(error instanceof ApiError) || error.status !== 422) return;
      this.refuse(error.problem.problems ?? [{ what: error.message }]);
    }
  }

  /** Shows problems at the fields that they are of, if those were touched; what is of no field, above. */
  refuse(problems) {
    for (const [name, { setError }] of Object.entries(this.fields)) {
      const own = problems.filter((problem) => problem.field === name && this.touched.has(name));
      setError(own.map(({ what, hint }) => [what, hint].filter(Boolean).map(sentence).join(" ")).join(" ") || null);
    }
    this.isRefused = problems.some((problem) => problem.field === "code" || problem.field === "user");
    this.showPreview();
    const others = problems.filter((problem) => !(problem.field in this.fields));
    this.dialog.setError(others.length ? formError({ detail: "This device cannot be added", problems: others }) : null);
  }

  async add() {
    clearTimeout(this.timer);
    this.asked += 1;
    Object.keys(this.fields).forEach((name) => this.touched.add(name));
    if (!this.body().code) {
      this.fields.code.setError("Give the device a code.");
      this.fields.code.input.focus();
      return false;
    }
    let added;
    try {
      added = await change((revision) => post("/api/v1/devices", this.body(), { revision }), this.before);
    } catch (error) {
      if (error.status !== 422) throw error;
      this.refuse(error.problem.problems ?? [{ what: error.message }]);
      document.querySelector('.dialog [aria-invalid="true"]')?.focus();
      return false;
    }
    if (added === false) return false;
    this.dialog.closed.then(() => suggest(this.body()));
    return true;
  }
}

/** What comes after it. */
function suggest({ code, name, user = "default" }) {
  const username = `${user}.${code}`;
  const others = state.current.devices.some((device) => device.user === user && device.username !== username);
  const dialog = openDialog({
    title: `${name ?? code} is added`,
    body: [
      h("p", null, others
        ? "It can do nothing yet: connect it with another device. Then there is a credential file for either end, to be handed to it."
        : "It can do nothing yet: add a second device, and connect the two. Then there is a credential file for either end, to be handed to it."),
    ],
    actions: [
      { label: "Close" },
      { label: "Open its page", value: "page" },
      { kind: "primary", focus: true, ...(others ? { label: "Connect it", value: "connect" } : { label: "Add another device", value: "add" }) },
    ],
  });
  dialog.closed.then((chosen) => {
    if (chosen === "page") navigate(`/devices/${encodeURIComponent(username)}`);
    if (chosen === "add") addDevice();
    if (chosen === "connect") createConnection({ from: state.device(username) });
  });
}
