// Asks before a connection is deleted, and says what is lost with it.

import { apiPath, get, remove } from "./api.js";
import { change, seen } from "./changes.js";
import { DIRECTIONS, trafficOf } from "./connections.js";
import { confirmDialog, toast } from "./dialog.js";
import { h } from "./dom.js";
import { named } from "./visible.js";

/**
 * @param {Object} connection as the state has it
 * @returns {Promise<boolean>} whether it is gone
 */
export async function deleteConnection(connection) {
  const { user, id, name, from, to } = connection;
  const nameOf = (end) => h("b", null, named(end.name));
  const before = seen();
  const waiting = DIRECTIONS.filter(({ way }) => connection[way]?.waiting.messages)
    .map(({ way, hearer }) => h("li", null, `${trafficOf(connection[way].waiting)} that wait for `, nameOf(connection[hearer])));
  const file = (end) => h("code", null, `${id}-${end}.json`);
  const body = [
    h("p", null, nameOf(from), " and ", nameOf(to), " can no longer exchange messages. With the connection go:"),
    h("ul", { class: "losses" },
      waiting,
      h("li", null, "retained messages and wills of both ends under its topics"),
      h("li", null, "its credentials: ", file("from"), " and ", file("to"), " are of no use any more")),
    h("p", { class: "muted" },
      waiting.length ? null : "No messages are queued now. ",
      "Both devices stay, and so do their other connections."),
  ];
  const run = async () => {
    try {
      return await change((revision) => remove(apiPath("connections", user, id), { revision }), before);
    } catch (error) {
      // Somebody else deleted it: that is what was wanted.
      if (error.status !== 404 || (await isThere(user, id))) throw error;
      return true;
    }
  };
  const isGone = Boolean(await confirmDialog({ title: `Delete ${name}?`, body, action: "Delete", danger: true, run }));
  if (isGone) toast(`${name} was deleted.`);
  return isGone;
}

async function isThere(user, id) {
  try {
    await get(apiPath("connections", user, id));
    return true;
  } catch {
    return false;
  }
}
