// Small pictures, drawn with the colour of the text. They stand beside words and are hidden from screen readers.

import { svg } from "./dom.js";

const PATHS = {
  overview: ["M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z"],
  devices: ["M7 7h10v10H7z", "M10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4"],
  connections: ["M4 8h13M14 5l3 3-3 3", "M20 16H7M10 13l-3 3 3 3"],
  live: ["M3 12h4l3-8 4 16 3-8h4"],
  account: ["M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8z", "M4 20c1.5-4 4.500-5.500 8-5.500s6.500 1.500 8 5.500"],
  logout: ["M10 4H5v16h5", "M9 12h11M16 8l4 4-4 4"],
  plus: ["M12 5v14M5 12h14"],
  copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
  check: ["M5 12.500l4.500 4.500L19 7"],
  close: ["M6 6l12 12M18 6L6 18"],
  search: ["M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14z", "M16 16l4.500 4.500"],
  warning: ["M12 4l9 16H3z", "M12 10v4M12 16.800v.2"],
  download: ["M12 4v11M7.500 11l4.500 4.500 4.500-4.500", "M4 20h16"],
  eye: ["M2.500 12C6 6 18 6 21.500 12 18 18 6 18 2.500 12z", "M12 14.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z"],
  sorted: ["M12 19V5M7 10l5-5 5 5"],
  back: ["M14 6l-6 6 6 6"],
};

/**
 * @param {keyof PATHS} name
 * @returns {SVGElement} 1.25 times as high as the text beside it
 */
export function icon(name) {
  return svg("svg", { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    PATHS[name].map((d) => svg("path", { d })));
}
