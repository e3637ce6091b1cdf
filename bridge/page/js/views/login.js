// The door.

import { h, setText } from "../dom.js";
import { duration } from "../format.js";
import { icon } from "../icons.js";
import { field } from "../parts.js";
import { navigate } from "../router.js";
import { logIn } from "../session.js";

export default { path: "/login", title: "Log in", open: true, render };

function render(_, query) {
  const input = h("input", { type: "password", autocomplete: "current-password", required: true, maxlength: "1024" });
  const show = h("button", { class: "button", type: "button", "aria-pressed": "false", onclick: toggle }, icon("eye"), h("span", null, "Show"));
  // The field finds its row by itself.
  h("div", { class: "field-row" }, input, show);
  const password = field({ id: "password", label: "Password", input });
  const caps = h("p", { class: "field-hint caps", role: "status" });
  const enter = h("button", { class: "button button-primary", type: "submit" }, "Log in");
  password.element.append(caps);
  let countdown = null;

  function toggle() {
    const shows = input.type === "password";
    input.type = shows ? "text" : "password";
    show.setAttribute("aria-pressed", String(shows));
    setText(show.lastElementChild, shows ? "Hide" : "Show");
    input.focus();
  }

  function noticeCaps(event) {
    if (event.getModifierState) setText(caps, event.getModifierState("CapsLock") ? "Caps Lock is on." : "");
  }

  async function submit(event) {
    event.preventDefault();
    if (countdown || enter.disabled) return;
    if (!input.value) {
      password.setError("Enter the password.");
      input.focus();
      return;
    }
    enter.disabled = true;
    try {
      await logIn(input.value);
      navigate(destination(query.get("next")), { replace: true });
    } catch (error) {
      enter.disabled = false;
      if (error.status === 429) wait(error.retryAfter ?? 5);
      else password.setError(error.status === 401 ? "This is not the password." : error.message);
      if (error.status === 401) help.open = true;
      input.select();
      input.focus();
    }
  }

  function wait(seconds) {
    const end = Date.now() + seconds * 1000;
    enter.disabled = true;
    const tick = () => {
      const left = Math.ceil((end - Date.now()) / 1000);
      if (left > 0) {
        setText(enter, `Wait ${duration(left)}`);
        return;
      }
      stop();
      enter.disabled = false;
      setText(enter, "Log in");
      password.setError(null);
    };
    password.setError("Too many attempts. The bridge looks at the next one when the time on the button is over.");
    countdown = setInterval(tick, 250);
    tick();
  }

  function stop() {
    clearInterval(countdown);
    countdown = null;
  }

  input.addEventListener("keydown", noticeCaps);
  input.addEventListener("keyup", noticeCaps);
  input.addEventListener("blur", () => setText(caps, ""));
  queueMicrotask(() => input.focus());

  const help = h("details", { class: "login-help" },
    h("summary", null, "Where is the password?"),
    h("p", null, "The bridge made one when it first started: it was shown once on the terminal or in the journal, and stands in the file ",
      h("code", null, "admin-password"), " of the data directory until it is changed. As a service:"),
    h("pre", { class: "code" }, "sudo cat /var/lib/ior-bridge/admin-password"),
    h("p", null, "If it was changed and is lost, ", h("code", null, "ior-bridge password"), " makes a new one."));
  const element = h("div", { class: "login" },
    h("div", { class: "login-card" },
      h("img", { class: "login-icon", src: "/icon.svg", alt: "", width: "48", height: "48" }),
      h("h1", null, "IOR Bridge"),
      h("p", { class: "muted" }, location.hostname),
      h("form", { class: "fields", novalidate: true, onsubmit: submit },
        // For password managers, which want to know whose password it is.
        h("input", { class: "visually-hidden", type: "text", autocomplete: "username", value: "admin", tabindex: "-1", "aria-hidden": "true", readOnly: true }),
        password.element, enter)),
    help);
  return { element, leave: stop };
}

/** Only places of this page: `next` may come from anywhere. */
function destination(next) {
  if (!next?.startsWith("/")) return "/";
  const url = new URL(next, location.origin);
  return url.origin === location.origin && url.pathname !== "/login" ? url.pathname + url.search : "/";
}
