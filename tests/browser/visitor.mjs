// A visitor of the bridge's page: a browser that does what the test orders, one thing after the other, and answers each
// order with a value or an error. Orders and answers are lines of JSON on standard input and output.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { IOR_BROWSER_MODULES: modules, IOR_BROWSER_DEADLINE: deadline } = process.env;
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// What a status of the API means is for the test to say: Chromium calls it an error of the page.
const REFUSED = /^Failed to load resource: the server responded with a status of 4\d\d/;

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Nothing but the bridge can be reached, whatever a page tries.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});

/** Pixels of the highest picture: lists of what happens have no end. */
const HIGHEST = 4000;

/** Pages by number, each with cookies of its own. */
const pages = [];

const orders = {
  async open({ site, look }) {
    const context = await browser.newContext({ baseURL: site, acceptDownloads: true });
    context.setDefaultTimeout(Number(deadline));
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI, sourceFile, lineNumber, sample }) => {
        console.error(`not allowed: ${effectiveDirective} ${blockedURI} ${sourceFile}:${lineNumber} ${sample}`);
      });
    });
    const page = await context.newPage();
    pages.push({ page, context, offences: watch(page, site), forgiven: [] });
    if (look) await orders.look({ ...look, page: pages.length - 1 });
    return pages.length - 1;
  },

  goto: ({ page, path }) => page.goto(path),
  path: ({ page }) => new URL(page.url()).pathname,
  see: ({ page, what }) => seen(page, what).waitFor(),
  miss: ({ page, what }) => seen(page, what).waitFor({ state: "hidden" }),
  text: ({ page, what }) => seen(page, what).innerText(),
  count: ({ page, what }) => page.locator(what).count(),
  click: ({ page, what }) => seen(page, what).click(),
  fill: ({ page, label, text }) => page.getByLabel(label, { exact: true }).fill(text),
  choose: ({ page, label, option }) => page.getByLabel(label, { exact: true }).selectOption(option),
  type: ({ page, text }) => page.keyboard.type(text),
  press: ({ page, key }) => page.keyboard.press(key),

  /** Presses Tab until what has the focus fits, as somebody does who sees where it is. */
  async tab({ page, what }) {
    for (let presses = 0; presses < 60; presses += 1) {
      await page.keyboard.press("Tab");
      const isThere = await seen(page, what).evaluate((element) => element === document.activeElement);
      if (isThere) return presses;
    }
    throw new Error(`no Tab leads to ${what}`);
  },

  async download({ page, what }) {
    const [download] = await Promise.all([page.waitForEvent("download"), seen(page, what).click()]);
    return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
  },

  forget: ({ context }) => context.clearCookies(),
  cookies: ({ context }) => context.cookies(),

  async look({ page, width, height, scheme }) {
    await at(page).setViewportSize({ width, height });
    await at(page).emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
  },

  /** All of the page in a window as high as it is; of one with a dialog what is in the window, as the rest is out of reach. */
  async picture({ page, file }) {
    const window = page.viewportSize();
    const hasDialog = (await page.locator("dialog[open]").count()) > 0;
    // What comes into sight may be higher than it was said to be.
    for (let tries = 0; !hasDialog && tries < 5; tries += 1) {
      const height = Math.min(HIGHEST, await page.evaluate(() => document.documentElement.scrollHeight));
      if (height <= page.viewportSize().height) break;
      await page.setViewportSize({ width: window.width, height });
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    }
    await page.screenshot({ path: file });
    await page.setViewportSize(window);
  },

  /** What keeps people out, by axe's rules for WCAG 2.2 at level AA. */
  async barriers({ page }) {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ""}`).slice(0, 5).join(" | ")}`);
  },

  /** How many pixels the page is wider than its window. */
  overflow: ({ page }) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),

  forgive: ({ forgiven, words }) => forgiven.push(words),

  /** What no page may do, since the last time it was asked for. */
  offences: ({ offences, forgiven }) => offences.splice(0).filter((offence) => !forgiven.some((words) => offence.includes(words))),
};

/** The first of them that is to be seen. */
function seen(page, what) {
  return page.locator(what).filter({ visible: true }).first();
}

/** Notes what no page may do. */
function watch(page, site) {
  const offences = [];
  page.on("console", (message) => {
    const isWrong = ["error", "warning"].includes(message.type()) && !REFUSED.test(message.text());
    if (isWrong) offences.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => offences.push(`error: ${error.stack ?? error}`));
  page.on("dialog", (dialog) => {
    offences.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("popup", (popup) => offences.push(`popup: ${popup.url()}`));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    const isInside = origin === new URL(site).origin || protocol === "data:" || protocol === "blob:";
    if (!isInside) offences.push(`request: ${request.url()}`);
  });
  return offences;
}

function at(number) {
  return pages[number].page;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { order, page, ...details } = JSON.parse(line);
  const bound = order === "open" || order === "look" ? { page, ...details } : { ...pages[page], ...details };
  const answer = await Promise.resolve()
    .then(() => orders[order](bound))
    .then(
      (value) => ({ value: plain(value) }),
      (error) => ({ error: String(error.message ?? error) }),
    );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();

/** Playwright's own objects, such as the answer to `goto`, say nothing to the test. */
function plain(value) {
  return value === undefined || (value !== null && typeof value === "object" && Object.getPrototypeOf(value) !== Object.prototype && !Array.isArray(value)) ? null : value;
}
