// Payloads as people read them. All of it becomes text, whatever a device has sent.

/** Levels of JSON that are indented; what lies deeper stands below the last of them. */
const DEEPEST = 12;

/**
 * A payload, or its beginning.
 * @param {string} base64
 * @param {number} size bytes of the whole
 * @returns {{bytes: Uint8Array, size: number, text: string?, json: string?, kind: "empty"|"json"|"text"|"hex"}} `text` is
 *   null if it is none, `json` is indented; `kind` is what suits it best
 */
export function readPayload(base64, size) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const text = textOf(bytes, size > bytes.length);
  const json = text !== null && size === bytes.length ? prettyJson(text) : null;
  const kind = bytes.length === 0 ? "empty" : json !== null ? "json" : text !== null ? "text" : "hex";
  return { bytes, size, text, json, kind };
}

/** Text if it is UTF-8 and nearly without control characters. */
function textOf(bytes, isCut) {
  let text;
  try {
    // As a stream, a character that is cut off at the end is not an error.
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: isCut });
  } catch {
    return null;
  }
  const controls = text.match(/[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/g)?.length ?? 0;
  return controls * 20 > text.length ? null : text;
}

/**
 * Indents JSON and changes nothing else: numbers keep their digits, names that stand twice stay.
 * @param {string} text
 * @returns {string?} null if it is no object and no array
 */
export function prettyJson(text) {
  if (!/^\s*[{[]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  const line = (depth) => `\n${"  ".repeat(Math.min(depth, DEEPEST))}`;
  let depth = 0;
  let pretty = "";
  tokens.forEach((token, index) => {
    const isEmpty = /[{[]/.test(tokens[index - 1]) && tokens[index - 1].length === 1;
    if (token === "{" || token === "[") {
      pretty += (isEmpty ? line(depth) : "") + token;
      depth += 1;
    } else if (token === "}" || token === "]") {
      depth -= 1;
      pretty += (isEmpty ? "" : line(depth)) + token;
    } else {
      pretty += (isEmpty ? line(depth) : "") + token;
      if (token === ",") pretty += line(depth);
      if (token === ":") pretty += " ";
    }
  });
  return pretty;
}

/**
 * Offset, bytes and characters, line by line.
 * @param {Uint8Array} bytes
 * @param {number} perLine
 */
export function hexDump(bytes, perLine) {
  const lines = [];
  for (let from = 0; from < bytes.length; from += perLine) {
    const part = [...bytes.subarray(from, from + perLine)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const characters = part.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${from.toString(16).padStart(4, "0")}  ${hex.padEnd(perLine * 3 - 1)}  ${characters}`);
  }
  return lines.join("\n");
}
