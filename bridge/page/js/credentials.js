// What an end of a connection needs to connect: its file, a QR code of it, and programs that are ready to run.

import { get } from "./api.js";
import { usernameOf } from "./connections.js";
import { formError, openDialog } from "./dialog.js";
import { h, replace } from "./dom.js";
import { icon } from "./icons.js";
import { copyButton } from "./parts.js";
import { tabs } from "./tabs.js";
import { named } from "./visible.js";

/**
 * The button that downloads the credential file of an end.
 * @param {{user: string, id: string, from: Object, to: Object}} connection
 * @param {"from"|"to"} end
 * @param {string} [text] what stands on it; without, its picture only
 */
export function downloadLink(connection, end, text) {
  const label = `Download the credential file of ${connection[end].name}`;
  return h("a", {
    class: text ? "button button-primary" : "button button-icon button-small",
    href: credentialPath(connection, end, "credentials"),
    download: `${connection.id}-${end}.json`,
    "aria-label": text ? null : label,
    title: label,
  }, icon("download"), text);
}

/**
 * All ways to hand an end its credentials. Nothing secret is asked for before the reader wants to see it.
 * @param {Object} connection
 * @param {"from"|"to"} end
 * @returns {HTMLElement}
 */
export function credentialCard(connection, end) {
  const { name, code } = connection[end];
  const shown = h("div", { class: "credential-more" });
  const qr = h("button", { class: "button", type: "button", onclick: () => showQr(connection, end) }, "QR code");
  const more = h("button", { class: "button", type: "button", "aria-expanded": "false", onclick: toggle }, "Snippets");

  async function toggle() {
    const isOpen = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return replace(shown);
    replace(shown, h("p", { class: "muted", role: "status" }, "Loading …"));
    try {
      const { snippets } = await get(credentialPath(connection, end, "snippets"));
      if (more.getAttribute("aria-expanded") === "true") replace(shown, snippetTabs(snippets, name));
    } catch (error) {
      replace(shown, formError(error));
    }
  }

  return h("section", { class: "card credential-card", "aria-label": `Credentials of ${name}` },
    h("header", { class: "card-head" },
      h("div", { class: "card-title" },
        h("h3", null, named(name)),
        h("p", { class: "card-id" }, end === "from" ? "From" : "To", " · ", h("code", null, String(code)), " · logs in as ",
          h("code", null, usernameOf(connection, connection[end]))))),
    h("div", { class: "actions" }, downloadLink(connection, end, "Download file"), qr, more),
    shown);
}

function showQr(connection, end) {
  const { name } = connection[end];
  const image = h("img", {
    class: "qr", src: credentialPath(connection, end, "qr"),
    alt: `QR code with the credentials of ${name}`, width: "480", height: "480",
    onerror: () => replace(place, formError({ detail: "The QR code could not be loaded. Download the file instead." })),
  });
  const place = h("div", { class: "qr-place" }, image);
  openDialog({
    title: `Credentials of ${name}`,
    wide: true,
    body: [place, h("p", { class: "muted" }, "Whoever photographs it can log in as this device.")],
  });
}

function snippetTabs(snippets, name) {
  const panel = ({ title, text }) => [
    h("div", { class: "snippet-head" },
      h("span", { class: "muted" }, "It contains the password."), copyButton(() => text, `Copy the snippet for ${title}`)),
    h("pre", { class: "snippet", tabindex: "0", "aria-label": title }, h("code", null, text)),
  ];
  return tabs(snippets.map((snippet) => ({ title: snippet.title, panel: () => panel(snippet) })), `Snippets for ${name}`);
}

function credentialPath({ user, id }, end, what) {
  return `/api/v1/connections/${encodeURIComponent(user)}/${encodeURIComponent(id)}/${end}/${what}`;
}
