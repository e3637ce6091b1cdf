// What can be done with a device: a new password, locking it out, removing it. Each says first what it means.

import { apiPath, patch, post, remove } from "./api.js";
import { change } from "./changes.js";
import { confirmDialog, openDialog, toast } from "./dialog.js";
import { h } from "./dom.js";
import { moment, plural } from "./format.js";
import { icon } from "./icons.js";
import { field } from "./parts.js";
import { navigate } from "./router.js";
import { state } from "./state.js";
import { visible } from "./visible.js";

/** @param {Object} device asks, then gives it a new password */
export async function rotate(device) {
  const answer = await confirmDialog({
    title: `New password for ${device.name}`,
    body: [
      h("p", null, "The device gets a new password, and its credential files are written anew. Hand it one of them."),
      h("p", null, "The password that it has now stays accepted for a while (", h("code", null, "limits.rotation_window"),
        ", a day if it was not changed), so it stays connected meanwhile. To lock it out at once, disable it."),
    ],
    action: "Make a new password",
    run: () => change((revision) => post(`${apiPath("devices", device.username)}/rotate`, undefined, { revision })),
  });
  if (answer) showRotated(device, answer);
}

function showRotated(device, { secret_version: version, previous = [] }) {
  const files = connectionsOf(device).map((connection) => {
    const end = endOf(device, connection);
    return h("li", null, h("a", {
      href: `${apiPath("connections", connection.user, connection.id)}/${end}/credentials`,
      download: `${connection.id}-${end}.json`,
    }, icon("download"), ` ${connection.id}-${end}.json`));
  });
  openDialog({
    title: `${device.name} has a new password`,
    body: [
      h("p", null, `It is the password of version ${version}.`),
      previous.length
        ? h("ul", null, previous.map((one) => h("li", null, `The one of version ${one.version} is accepted until ${moment(one.accepted_until)}.`)))
        : h("p", null, "No earlier password is accepted."),
      files.length
        ? [h("h3", null, "Its credential file"), h("p", null, plural(files.length, "file holds", "files hold"), " the new password:"), h("ul", { class: "files" }, files)]
        : h("p", null, "It has no connection, so there is no credential file yet."),
    ],
    actions: [{ label: "Done", kind: "primary" }],
  });
}

/** @param {Object} device locks it out after asking, or lets it in again */
export async function setDisabled(device, disabled) {
  const run = () => change((revision) => patch(apiPath("devices", device.username), { disabled }, { revision }));
  const done = await confirmDialog({
    title: disabled ? `Disable ${device.name}` : `Enable ${device.name}`,
    body: disabled
      ? h("p", null, "It is disconnected at once and may not log in. Its sessions end, and the messages that wait for it are lost",
        device.queued ? `: ${plural(device.queued, "message")} now. ` : "; none waits now. ", "Its connections and credentials stay.")
      : h("p", null, "It may log in again, with the credentials that it has."),
    action: disabled ? "Disable" : "Enable",
    danger: disabled,
    run,
  });
  if (done) toast(disabled ? `${device.name} is disabled.` : `${device.name} may log in again.`);
}

/** @param {Object} device changes what people call it */
export async function rename(device) {
  const name = field({ id: "device-name", label: "Name", input: h("input", { type: "text", value: device.name, maxlength: "120", autocomplete: "off" }) });
  const kind = field({ id: "device-type", label: "Type", input: h("input", { type: "text", value: device.type, maxlength: "120", autocomplete: "off" }) });
  const dialog = openDialog({
    title: `Edit ${device.name}`,
    body: h("div", { class: "fields" }, name.element, kind.element,
      h("p", { class: "muted small" }, "The code cannot be changed: topics and credentials are made of it.")),
    actions: [{ label: "Cancel" }, { label: "Save", kind: "primary", run: save }],
  });

  async function save() {
    [name, kind].forEach(({ setError }) => setError(null));
    const body = { name: name.input.value.trim(), type: kind.input.value.trim() };
    try {
      return await change((revision) => patch(apiPath("devices", device.username), body, { revision }));
    } catch (error) {
      const fields = { name, type: kind };
      const problems = error.problem?.problems ?? [];
      if (error.status !== 422 || !problems.some((problem) => problem.field in fields)) throw error;
      problems.forEach(({ field: of, what, hint }) => fields[of]?.setError([what, hint].filter(Boolean).join("; ")));
      return false;
    }
  }

  if (await dialog.closed) toast("Saved.");
}

/** @param {Object} device asks, then removes it with its connections */
export async function removeDevice(device) {
  const connections = connectionsOf(device);
  const peers = connections.map((connection) => {
    const peer = endOf(device, connection) === "from" ? connection.to : connection.from;
    const waiting = (connection.from_to?.waiting.messages ?? 0) + (connection.to_from?.waiting.messages ?? 0);
    return h("li", null, h("bdi", null, visible(connection.name)), ", with ", h("bdi", null, visible(peer.name)), ` (${peer.code})`,
      waiting ? `: ${plural(waiting, "waiting message")} will be lost` : "");
  });
  const done = await confirmDialog({
    title: `Remove ${device.name}`,
    body: [
      h("p", null, "It is disconnected, and its credentials are void. This cannot be undone: a device that is added with the same code later is a new one."),
      connections.length
        ? [h("p", null, h("strong", null, `${plural(connections.length, "connection goes", "connections go")} with it`),
          ", with what waits or is retained there:"), h("ul", null, peers)]
        : h("p", null, "It has no connections."),
      device.queued ? h("p", null, plural(device.queued, "message that waits", "messages that wait"), " for it will be lost.") : null,
    ],
    action: "Remove",
    danger: true,
    acknowledge: connections.length ? "Remove the device and these connections" : "Remove the device",
    run: () => change((revision) => remove(`${apiPath("devices", device.username)}?with_connections=true`, { revision })),
  });
  if (!done) return;
  navigate("/devices", { replace: true });
  toast(`${device.name} is removed.`);
}

/** @param {Object} device @returns {Array<Object>} its connections, as they are now */
export function connectionsOf(device) {
  return device.connections.map((id) => state.connection(`${device.user}/${id}`)).filter(Boolean);
}

/** @returns {"from"|"to"} which end of the connection the device is */
export function endOf(device, connection) {
  return connection.from.code === device.code ? "from" : "to";
}
