// Builds elements. Everything on the page is made here: texts become text nodes, so no name or topic can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** What has to be set as a property, since the attribute means something else or cannot be taken back. */
const PROPERTIES = new Set([
  "checked", "disabled", "hidden", "htmlFor", "indeterminate", "open", "readOnly", "required", "selected", "textContent", "value",
]);

/**
 * An HTML element.
 * @param {string} tag
 * @param {Object<string, *>?} attributes `class` (a string, or an array whose falsy items are left out), `on…` functions,
 *   `style` (an object of custom properties), properties such as `value`, attributes; null, undefined and false are left out
 * @param {...*} children nodes, strings, numbers, arrays of them; null, undefined and booleans are left out
 * @returns {HTMLElement}
 */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * An SVG element; otherwise as `h`.
 * @returns {SVGElement}
 */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * Puts these children in the place of all that `parent` has.
 * @param {Element} parent
 * @param {...*} children as in `h`
 */
export function replace(parent, ...children) {
  parent.replaceChildren(...flat(children));
}

/**
 * Changes the text of an element, if it is another one: what did not change is not laid out again, and stays selected.
 * @param {Element} element
 * @param {string|number} text
 */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/**
 * Sets an attribute if it has another value; null and false remove it.
 * @param {Element} element
 * @param {string} name
 * @param {string|number|boolean|null} value
 */
export function setAttribute(element, name, value) {
  if (value == null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value === true ? "" : value);
  }
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) give(element, name, value);
  element.append(...flat(children));
  return element;
}

function give(element, name, value) {
  if (value == null) return;
  if (name === "class") {
    const classes = Array.isArray(value) ? value.filter(Boolean).join(" ") : value;
    if (classes) element.setAttribute("class", classes);
  } else if (name === "style") {
    // The policy forbids style attributes, and allows this.
    for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, setting);
  } else if (name.startsWith("on")) {
    element.addEventListener(name.slice(2), value);
  } else if (PROPERTIES.has(name) && name in element) {
    element[name] = value;
  } else if (name.startsWith("aria-")) {
    element.setAttribute(name, value);
  } else if (value !== false) {
    element.setAttribute(name, value === true ? "" : value);
  }
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child != null && typeof child !== "boolean")
    .map((child) => (child instanceof Node ? child : String(child)));
}
