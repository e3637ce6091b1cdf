// Texts that strangers wrote: what cannot be seen, or turns around what is beside it, is shown for what it is.

import { h } from "./dom.js";

/** Controls, what changes the direction of writing, what has no width; line ends and tabs are left to whoever shows it. */
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/**
 * @param {string} text
 * @returns {(string|HTMLElement)[]} children for `h`: its parts, and a small mark for each such character
 */
export function visible(text) {
  const parts = [];
  let from = 0;
  for (const { 0: character, index } of text.matchAll(HIDDEN)) {
    if (index > from) parts.push(text.slice(from, index));
    const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(h("span", { class: "unseen", title: `The character U+${code}` }, `U+${code}`));
    from = index + character.length;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

/**
 * A name among other words: whichever way it is written, they stay where they are.
 * @param {string} text
 */
export function named(text) {
  return h("bdi", null, visible(text));
}
