// The dialog that connects two devices.

import { ApiError, post } from "./api.js";
import { change, seen } from "./changes.js";
import { connectionPath, topicsOf } from "./connections.js";
import { devicePicker } from "./device-picker.js";
import { formError, openDialog, sentence } from "./dialog.js";
import { h, replace } from "./dom.js";
import { field } from "./parts.js";
import { navigate } from "./router.js";
import { state } from "./state.js";
import { named } from "./visible.js";

/** Milliseconds without a key before the bridge is asked whether it would do. */
const PAUSE = 250;
const LONGEST_ID = 64;

/**
 * Opens it.
 * @param {{from?: Object}} [known] a device that is chosen already
 */
export function createConnection({ from } = {}) {
  new Form().open(from);
}

class Form {
  constructor() {
    this.ends = { from: null, to: null };
    this.pickers = { from: this.picker("from"), to: this.picker("to") };
    this.fields = {
      from: field({ id: "connection-from", label: "From", input: this.pickers.from.input }),
      to: field({ id: "connection-to", label: "To", input: this.pickers.to.input }),
      name: field({
        id: "connection-name", label: "Name", hint: "For people.",
        input: h("input", { type: "text", maxlength: "100", autocomplete: "off", oninput: () => this.named() }),
      }),
      id: field({
        id: "connection-id", label: "Id", hint: "In its topics. If you write none it is made of the name, and who changes the name later changes the topics.",
        input: h("input", {
          type: "text", maxlength: String(LONGEST_ID), autocomplete: "off", spellcheck: "false", oninput: () => this.changed(),
        }),
      }),
    };
    this.preview = h("div", { class: "preview" });
    this.isNamed = false;
    this.asked = 0;
    this.before = seen();
  }

  open(from) {
    this.dialog = openDialog({
      title: "Create connection",
      body: [
        h("div", { class: "field-pair" }, this.fields.from.element, this.fields.to.element),
        h("div", { class: "field-pair" }, this.fields.name.element, this.fields.id.element),
        this.preview,
      ],
      actions: [{ label: "Cancel" }, { label: "Create", kind: "primary", run: () => this.create() }],
    });
    this.show();
    if (from) this.pickers.from.choose(from);
    (from ? this.pickers.to : this.pickers.from).input.focus();
  }

  picker(end) {
    const other = end === "from" ? "to" : "from";
    // A connection joins two devices of the same user.
    const devices = () => state.current.devices.filter(({ username, user }) => {
      const peer = this.ends[other];
      return !peer || (username !== peer.username && user === peer.user);
    });
    return devicePicker({ devices, onChoice: (device) => this.chosen(end, device) });
  }

  chosen(end, device) {
    this.ends[end] = device;
    this.fields[end].setError(null);
    if (!this.isNamed) this.fields.name.input.value = this.suggestion();
    this.changed();
  }

  named() {
    this.isNamed = this.fields.name.input.value.trim() !== "";
    this.changed();
  }

  suggestion() {
    const { from, to } = this.ends;
    if (!from || !to) return "";
    const names = `${from.name} - ${to.name}`;
    const isFree = idOf(names) && !isTaken(from.user, idOf(names)) && names.length <= 100;
    return isFree ? names : `${from.code} - ${to.code}`;
  }

  changed() {
    this.show();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), PAUSE);
  }

  body() {
    const { from, to } = this.ends;
    const name = this.fields.name.input.value.trim() || this.suggestion();
    // A name or a code could be another's, too; what it logs in with is its own.
    const id = this.fields.id.input.value.trim();
    return { from: from.username, to: to.username, name, ...(id && { id }) };
  }

  /** Asks whether the bridge would take it as it is now. */
  async check() {
    if (!this.ends.from || !this.ends.to) return;
    this.asked += 1;
    const mine = this.asked;
    try {
      await post("/api/v1/connections?dry_run=true", this.body());
      if (mine === this.asked) this.refuse([]);
    } catch (error) {
      if (mine !== this.asked || !(error instanceof ApiError)) return;
      this.refuse(error.problem.problems ?? [{ what: error.message }]);
    }
  }

  /** Shows problems at the fields that they are of, the others above. */
  refuse(problems) {
    const fieldOf = (problem) => (problem.field in this.fields ? problem.field : null);
    for (const [name, field] of Object.entries(this.fields)) {
      const own = problems.filter((problem) => fieldOf(problem) === name);
      field.setError(own.map(({ what, hint }) => [what, hint].filter(Boolean).map(sentence).join(" ")).join(" ") || null);
    }
    const others = problems.filter((problem) => !fieldOf(problem));
    const refusal = others.length ? formError({ detail: "This connection cannot be created", problems: others }) : null;
    this.dialog.setError(refusal);
  }

  async create() {
    clearTimeout(this.timer);
    const missing = ["from", "to"].filter((end) => !this.ends[end]);
    missing.forEach((end) => this.fields[end].setError("Choose a device."));
    if (missing.length) {
      this.fields[missing[0]].input.focus();
      return false;
    }
    const body = this.body();
    try {
      const created = await change((revision) => post("/api/v1/connections", body, { revision }), this.before);
      if (!created) return false;
      navigate(`${connectionPath(created)}?created=yes`);
      return true;
    } catch (error) {
      if (error.status !== 422) throw error;
      this.refuse(error.problem.problems ?? [{ what: error.message }]);
      return false;
    }
  }

  show() {
    const { from, to } = this.ends;
    if (!from || !to) {
      replace(this.preview, h("p", { class: "muted" }, "Choose both devices to see the topics that they will have."));
      return;
    }
    const { name, id = idOf(name) } = this.body();
    this.fields.id.input.placeholder = idOf(name) ?? "";
    if (!id) {
      replace(this.preview, h("p", { class: "muted" }, "No id can be made of this name: write one of A-Z a-z 0-9 _ -."));
      return;
    }
    const connection = { user: from.user, id };
    const line = (end, peer) => h("tr", null,
      h("th", { scope: "row" }, named(end.name)),
      h("td", null, h("code", null, topicsOf(connection, end, peer).publish)),
      h("td", null, h("code", null, topicsOf(connection, end, peer).subscribe)));
    const head = ["Device", "publishes to", "subscribes to"].map((text) => h("th", { scope: "col" }, text));
    replace(this.preview,
      h("p", null, "Id ", h("code", null, id)),
      h("div", { class: "table-scroll" }, h("table", { class: "topics" },
        h("thead", null, h("tr", null, head)), h("tbody", null, line(from, to), line(to, from)))));
  }
}

/** As the bridge makes it of a name; null if there is none to be made. */
function idOf(name) {
  const id = name.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").toLowerCase();
  return id && id.length <= LONGEST_ID ? id : null;
}

function isTaken(user, id) {
  return state.current.connections.some((connection) => connection.user === user && connection.id === id);
}
