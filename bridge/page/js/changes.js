// Changes of the configuration: each is made over what the reader saw. If it is another by now, the reader is asked.

import { h, replace } from "./dom.js";
import { openDialog } from "./dialog.js";
import { state } from "./state.js";

/** Milliseconds that a changed configuration has to be taken up, until the reader is told that it was not. */
const PATIENCE = 4000;

/**
 * What the reader sees now, to be kept until a form is sent.
 * @returns {{revision: string, names: Map<string, string>}}
 */
export function seen() {
  return { revision: state.current.revision, names: described() };
}

/**
 * Makes a change.
 * @template T
 * @param {function(string): Promise<T>} request is given the revision to write over
 * @param {{revision: string, names: Map<string, string>}} before what the reader saw; it is renewed when the reader was shown
 *   what is new
 * @returns {Promise<T|false>} false if the configuration was changed meanwhile and the reader does not want to go on
 */
export async function change(request, before = seen()) {
  for (;;) {
    try {
      const answer = await request(before.revision);
      // The stream tells it a moment later; what is pressed until then must not look like somebody else's change.
      if (answer?.revision && state.current) state.current.revision = answer.revision;
      return answer;
    } catch (error) {
      if (error.status !== 412) throw error;
      if (!(await askAgain(before, error.problem.revision))) return false;
      Object.assign(before, { ...seen(), revision: error.problem.revision });
    }
  }
}

async function askAgain(before, revision) {
  const list = h("div", { class: "changes", role: "status" }, h("p", { class: "muted" }, "Looking what was changed …"));
  const end = state.onChange(({ whole }) => whole && show());
  const timer = setTimeout(show, PATIENCE, true);

  function show(isLate = false) {
    if (state.current.revision === revision) {
      const lines = differences(before.names, described());
      replace(list, lines.length
        ? h("ul", null, lines.map((line) => h("li", null, line)))
        : h("p", null, "It was something that is not shown here, such as a password or the limits of a queue."));
    } else if (isLate) {
      replace(list, h("p", null, "The bridge has not taken the change up yet. If it does not, ", h("code", null, "ior-bridge check"), " says what is wrong with the files."));
    }
  }

  const dialog = openDialog({
    title: "Somebody changed the configuration",
    body: [
      h("p", null, "It was changed after you saw it, on another page or in the files. Nothing of yours was written, and nothing that you typed is lost."),
      h("h3", null, "What was changed"),
      list,
    ],
    actions: [{ label: "Back" }, { label: "Make my change all the same", kind: "primary", value: true }],
  });
  show();
  const again = await dialog.closed;
  clearTimeout(timer);
  end();
  return again;
}

function described() {
  const names = new Map();
  for (const device of state.current.devices) {
    const lock = device.disabled ? ", disabled" : "";
    names.set(`device ${device.username}`, `The device ${device.name} (${device.code}), type ${device.type}${lock}`);
  }
  for (const { key, name, from, to } of state.current.connections) {
    names.set(`connection ${key}`, `The connection ${name}, ${from.name} (${from.code}) with ${to.name} (${to.code})`);
  }
  return names;
}

function differences(before, after) {
  const added = [...after].filter(([key]) => !before.has(key)).map(([, text]) => `${text}, was added.`);
  const removed = [...before].filter(([key]) => !after.has(key)).map(([, text]) => `${text}, was removed.`);
  const other = [...after].filter(([key, text]) => before.has(key) && before.get(key) !== text)
    .map(([key, text]) => `${before.get(key)}, is now: ${text}.`);
  return [...added, ...removed, ...other];
}
