// Which view is shown. Links are plain `<a href>`: a click on one of this page's own places changes the view only.

import { h, replace } from "./dom.js";

const views = [];
let main = null;
let shown = null;
/** Counts the navigations, so that a view that took long does not take the place of a later one. */
let turn = 0;
let before = async () => true;
let after = () => {};

/**
 * A view.
 * @typedef {Object} View
 * @property {string} path with parameters in braces: `/devices/{username}`
 * @property {string} title of the document, until the view sets another with `setTitle`
 * @property {boolean=} open needs no login
 * @property {boolean=} still needs no live state
 * @property {function(Object<string, string>, URLSearchParams): {element: Element, leave?: function()}} render
 */

/** @param {View} view */
export function register(view) {
  const names = [];
  const pattern = view.path.replace(/\{(\w+)\}/g, (_, name) => {
    names.push(name);
    return "([^/]+)";
  });
  views.push({ ...view, names, pattern: new RegExp(`^${pattern}/?$`) });
}

/**
 * Begins to show views, with the place that the browser is at.
 * @param {Element} element what views are shown in
 * @param {{before: function(View): Promise<boolean>, after: function(View)}} hooks `before` may say no, having navigated
 *   elsewhere itself; `after` is told what is shown now
 */
export function start(element, hooks) {
  main = element;
  before = hooks.before;
  after = hooks.after;
  history.scrollRestoration = "manual";
  document.addEventListener("click", follow);
  window.addEventListener("popstate", (event) => show(event.state?.scroll ?? 0));
  window.addEventListener("pagehide", keepScroll);
  return show(history.state?.scroll ?? 0);
}

/**
 * Goes to a place of this page.
 * @param {string} path with its query
 * @param {{replace?: boolean}} options `replace` leaves no trace in the history
 */
export function navigate(path, { replace: replaces = false } = {}) {
  if (replaces) {
    history.replaceState(null, "", path);
  } else {
    keepScroll();
    history.pushState(null, "", path);
  }
  return show(0);
}

/** Shows the view of this place anew. */
export function refresh() {
  return show(window.scrollY);
}

/**
 * Changes the query and leaves the view as it is, which knows already.
 * @param {Object<string, string?>} parameters null and "" remove one
 */
export function setQuery(parameters) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(parameters)) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  history.replaceState(history.state, "", url);
}

/** @param {string} title of what is shown */
export function setTitle(title) {
  document.title = title ? `${title} · IOR Bridge` : "IOR Bridge";
}

async function show(scroll) {
  turn += 1;
  const mine = turn;
  const { view, params } = find(location.pathname);
  if (!(await before(view)) || mine !== turn) return;
  shown?.leave?.();
  shown = null;
  setTitle(view.title);
  shown = view.render(params, new URLSearchParams(location.search));
  replace(main, shown.element);
  after(view);
  window.scrollTo(0, scroll);
  // Whoever cannot see that the view is another one is told by its heading; a view may have put the focus somewhere already.
  if (turn > 1 && !main.contains(document.activeElement)) {
    const heading = main.querySelector("h1") ?? main;
    heading.setAttribute("tabindex", "-1");
    heading.focus({ preventScroll: true });
  }
}

function find(path) {
  for (const view of views) {
    const match = view.pattern.exec(path);
    if (match) {
      try {
        const params = Object.fromEntries(view.names.map((name, index) => [name, decodeURIComponent(match[index + 1])]));
        return { view, params };
      } catch {
        // A percent sign that encodes nothing: there is no such place.
        break;
      }
    }
  }
  return { view: NOWHERE, params: {} };
}

const NOWHERE = {
  path: "",
  title: "Nothing here",
  still: true,
  render: () => ({
    element: h("div", { class: "empty" },
      h("h1", null, "There is nothing here"),
      h("p", null, "The address is wrong, or what it led to has been removed."),
      h("a", { class: "button", href: "/" }, "Go to the overview")),
  }),
};

function follow(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  const href = link.getAttribute("href");
  if (href.startsWith("#")) {
    // A place within this view: going there is no step in the history, which would show the view anew.
    event.preventDefault();
    document.getElementById(href.slice(1))?.focus();
    return;
  }
  if (link.pathname.startsWith("/api/") || link.pathname === "/metrics") return;
  event.preventDefault();
  navigate(link.pathname + link.search);
}

function keepScroll() {
  history.replaceState({ ...history.state, scroll: window.scrollY }, "");
}
