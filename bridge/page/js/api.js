// Asks the bridge. Changes carry the token that proves that this page asks, and the revision that the reader saw.

/** An answer that is not the one that was wanted. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP; 0 if the bridge did not answer at all
   * @param {{title?: string, detail?: string, problems?: Array}} problem as in RFC 9457
   * @param {number?} retryAfter seconds that the bridge wants to be left alone
   */
  constructor(status, problem, retryAfter = null) {
    super(problem.detail ?? problem.title ?? `The bridge answered with status ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

let csrfToken = null;
let whenLoggedOut = () => {};

/** @param {string?} token of the session, for requests that change something */
export function setCsrfToken(token) {
  csrfToken = token;
}

/** @param {function()} fn is called when the bridge does not know the session any more */
export function onLoggedOut(fn) {
  whenLoggedOut = fn;
}

/** @param {string} path @returns {Promise<*>} the answer's JSON */
export const get = (path) => request("GET", path);

/** @param {string} path @param {*} body @param {{revision?: string, quiet?: boolean}} options */
export const post = (path, body, options) => request("POST", path, body, options);

/** @param {string} path @param {*} body @param {{revision?: string}} options */
export const put = (path, body, options) => request("PUT", path, body, options);

/** @param {string} path @param {*} body @param {{revision?: string}} options */
export const patch = (path, body, options) => request("PATCH", path, body, options);

/** DELETE. @param {string} path @param {{revision?: string}} options */
export const remove = (path, options) => request("DELETE", path, undefined, options);

/**
 * A path of the API out of parts that may contain anything.
 * @param {...string} parts such as `"devices", username`
 */
export function apiPath(...parts) {
  return `/api/v1/${parts.map(encodeURIComponent).join("/")}`;
}

async function request(method, path, body, { revision, quiet = false } = {}) {
  const used = csrfToken;
  let response = await ask(method, path, body, revision);
  // Another tab may have logged in anew: then this one's token is of a session that is over.
  if (response.status === 403 && method !== "GET" && (await renewedToken()) !== used) {
    response = await ask(method, path, body, revision);
  }
  if (response.ok) return answer(response);
  const error = await failure(response);
  if (error.status === 401 && !quiet) whenLoggedOut();
  throw error;
}

async function ask(method, path, body, revision) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (revision) headers["If-Match"] = `"${revision}"`;
  if (csrfToken && method !== "GET") headers["X-CSRF-Token"] = csrfToken;
  try {
    return await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, { title: "No answer", detail: "The bridge does not answer. Is it running, and can this machine reach it?" });
  }
}

async function renewedToken() {
  const response = await ask("GET", "/api/v1/session");
  if (response.ok) csrfToken = (await response.json()).csrf_token;
  return csrfToken;
}

async function answer(response) {
  if (response.status === 204) return null;
  const type = response.headers.get("Content-Type") ?? "";
  return type.includes("json") ? response.json() : response.text();
}

async function failure(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // Whoever answered was not the bridge, a proxy perhaps: the status has to do.
  }
  problem.title ??= response.statusText || `Status ${response.status}`;
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new ApiError(response.status, problem, Number.isFinite(seconds) ? seconds : null);
}
