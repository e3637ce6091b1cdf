// What is around every view: name, host, whether the page is live, the navigation.

import { h, replace, setAttribute, setText } from "./dom.js";
import { icon } from "./icons.js";
import { status, setStatus } from "./parts.js";
import { navigate } from "./router.js";
import { logOut, session } from "./session.js";
import { shownNow } from "./shown-mark.js";
import { retryNow, state } from "./state.js";

const PLACES = [
  { href: "/", text: "Overview", icon: "overview" },
  { href: "/devices", text: "Devices", icon: "devices" },
  { href: "/connections", text: "Connections", icon: "connections" },
  { href: "/live", text: "Live", icon: "live" },
  { href: "/account", text: "Account", icon: "account" },
];

let parts = null;
/** The version that this page came with. */
let loadedVersion = null;

/** Shows it, if it is not there. @param {Element} main what it stands around */
export function mountShell(main) {
  if (parts) return;
  loadedVersion ??= session.current.version;
  const mark = status("offline", "Connecting");
  const host = h("span", { class: "host" });
  const links = PLACES.map((place) => h("a", { class: "nav-link", href: place.href }, icon(place.icon), h("span", null, place.text)));
  const shown = shownNow();
  const bar = h("div", { class: "lost", role: "status" });
  const top = h("header", { class: "top" },
    h("a", { class: "brand", href: "/", "aria-label": "IOR Bridge, overview" },
      h("img", { src: "/icon.svg", alt: "", width: "32", height: "32" }), h("span", { class: "brand-name" }, "IOR Bridge")),
    host,
    shown.element,
    h("span", { class: "live-mark", role: "status" }, mark),
    h("button", { class: "button button-quiet log-out", type: "button", onclick: leave }, icon("logout"), h("span", null, "Log out")));
  const nav = h("nav", { class: "nav", "aria-label": "Main" }, links);
  main.before(top, nav, bar);
  document.body.classList.add("has-shell");
  parts = { top, nav, bar, mark, host, links, ends: [state.onConnection(showConnection), shown.leave], ticker: setInterval(showConnection, 1000) };
  parts.host.append(session.current.host);
  setAttribute(parts.host, "title", `Host: ${session.current.host}`);
  showConnection();
}

/** Takes it away. */
export function unmountShell() {
  if (!parts) return;
  parts.ends.forEach((end) => end());
  clearInterval(parts.ticker);
  [parts.top, parts.nav, parts.bar].forEach((element) => element.remove());
  document.body.classList.remove("has-shell");
  parts = null;
}

/** Marks where one is. @param {string} path */
export function markPlace(path) {
  for (const link of parts?.links ?? []) {
    const href = link.getAttribute("href");
    const isHere = href === "/" ? path === "/" : path === href || path.startsWith(`${href}/`);
    setAttribute(link, "aria-current", isHere ? "page" : null);
  }
}

function showConnection() {
  const isLost = !state.connected && (state.current !== null || state.retryAt !== null);
  setStatus(parts.mark, state.connected ? ["online", "Live"] : isLost ? ["warning", "Not live"] : ["offline", "Connecting"]);
  if (isLost) {
    showBar("lost", lostBar);
    const seconds = state.retryAt ? Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000)) : 0;
    setText(parts.bar.querySelector(".when"), seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again …");
  } else if (state.connected && state.current.bridge.version !== loadedVersion) {
    showBar("updated", updatedBar);
  } else {
    showBar(null, () => null);
  }
}

/** Changes the bar only if it is to say something else: it is read out when it changes. */
function showBar(kind, make) {
  if (parts.barKind === kind) return;
  parts.barKind = kind;
  replace(parts.bar, make());
}

function lostBar() {
  return [icon("warning"),
    h("span", null, "The connection to the bridge is lost. What is shown may be old. ", h("span", { class: "when", "aria-hidden": "true" })),
    h("button", { class: "button button-small", type: "button", onclick: retryNow }, "Try now")];
}

function updatedBar() {
  return [icon("warning"),
    h("span", null, `The bridge is version ${state.current.bridge.version} now; this page is of version ${loadedVersion}.`),
    h("button", { class: "button button-small", type: "button", onclick: () => location.reload() }, "Reload the page")];
}

async function leave() {
  try {
    await logOut();
  } catch {
    // The bridge is away, or the session was over already: this page forgets it all the same.
  }
  navigate("/login");
}
