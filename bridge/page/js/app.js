// The beginning: which views there are, and what has to be so before one is shown.

import { onLoggedOut } from "./api.js";
import { h, replace } from "./dom.js";
import { formError } from "./dialog.js";
import { navigate, refresh, register, start } from "./router.js";
import { forgetSession, loadSession, session } from "./session.js";
import { markPlace, mountShell, unmountShell } from "./shell.js";
import { firstState, startState, state, stopState } from "./state.js";
import login from "./views/login.js";

const VIEWS = [login];

const main = document.getElementById("main");

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

let isStarted = false;

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
