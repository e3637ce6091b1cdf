// The beginning: which views there are, and what has to be so before one is shown.

import { onLoggedOut } from "./api.js";
import { h, replace } from "./dom.js";
import { formError } from "./dialog.js";
import { navigate, refresh, register, start } from "./router.js";
import { forgetSession, loadSession, session } from "./session.js";
import { markPlace, mountShell, unmountShell } from "./shell.js";
import { firstState, startState, state, stopState } from "./state.js";
import account from "./views/account.js";
import connection from "./views/connection.js";
import connections from "./views/connections.js";
import device from "./views/device.js";
import devices from "./views/devices.js";
import live from "./views/live.js";
import login from "./views/login.js";
import overview from "./views/overview.js";

const VIEWS = [login, overview, devices, device, connections, connection, live, account];

const main = document.getElementById("main");
let isStarted = false;

VIEWS.forEach(register);
onLoggedOut(() => {
  const place = location.pathname + location.search;
  leaveSession();
  if (location.pathname !== "/login") navigate(`/login?next=${encodeURIComponent(place)}`, { replace: true });
});
start(main, { before: prepare, after: () => markPlace(location.pathname) });

/** Whether the view can be shown; if not, another one is on its way. */
async function prepare(view) {
  if (view.open) {
    leaveSession();
    return true;
  }
  try {
    await (session.current ?? loadSession());
  } catch (error) {
    // Without a login, `onLoggedOut` has gone to the login already.
    if (error.status !== 401) showFailure(error);
    return false;
  }
  mountShell(main);
  if (!state.current) startStateOnce();
  if (!view.still && !state.current) {
    showWaiting();
    await firstState();
  }
  return true;
}

function startStateOnce() {
  if (isStarted) return;
  isStarted = true;
  startState(loadSession);
}

function leaveSession() {
  isStarted = false;
  stopState();
  unmountShell();
  forgetSession();
}

function showWaiting() {
  replace(main, h("p", { class: "waiting", role: "status" }, "Loading …"));
}

function showFailure(error) {
  replace(main, h("div", { class: "narrow" }, h("h1", null, "IOR Bridge"), formError(error),
    h("button", { class: "button", type: "button", onclick: refresh }, "Try again")));
}
