// Asks before a connection is deleted, and says what is lost with it.

import { apiPath, get, remove } from "./api.js";
import { DIRECTIONS, trafficOf } from "./connections.js";
import { confirmDialog, toast } from "./dialog.js";
import { h } from "./dom.js";
import { state } from "./state.js";
import { visible } from "./visible.js";

/**
 * @param {Object} connection as the state has it
 * @returns {Promise<boolean>} whether it is gone
 */
export async function deleteConnection(connection) {
  const { user, id, name, from, to } = connection;
  const nameOf = (end) => h("b", null, h("bdi", null, visible(end.name)));
  // The revision is the one that was seen with the question: a file that was changed since is not touched.
  const { revision } = state.current;
  const waiting = DIRECTIONS.filter(({ way }) => connection[way]?.waiting.messages)
    .map(({ way, hearer }) => h("li", null, `${trafficOf(connection[way].waiting)} that wait for `, nameOf(connection[hearer])));
  const body = [
    h("p", null, nameOf(from), " and ", nameOf(to), " can no longer exchange messages. This is lost:"),
    h("ul", { class: "losses" },
      waiting.length ? waiting : h("li", null, "no queued messages: none wait now"),
      h("li", null, "retained messages and wills of both ends"),
      h("li", null, "the credential files of this connection: ", h("code", null, `${id}-from.json`), " and ", h("code", null, `${id}-to.json`), " are void")),
    h("p", { class: "muted" }, "Both devices stay, and so do their other connections."),
  ];
  const run = async () => {
    try {
      await remove(apiPath("connections", user, id), { revision });
    } catch (error) {
      // Somebody else deleted it: that is what was wanted.
      if (error.status !== 404 || (await isThere(user, id))) throw error;
    }
    return true;
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
