// Who is logged in.

import { get, post, put, remove, setCsrfToken } from "./api.js";

export const session = {
  /** As the bridge told: `{name, expires, csrf_token, password_is_initial, version, host}`; null without a login. */
  current: null,
};

/** Asks whether this browser is logged in. @returns {Promise<Object>} throws if it is not */
export async function loadSession() {
  return take(await get("/api/v1/session"));
}

/** @param {string} password */
export async function logIn(password) {
  return take(await post("/api/v1/session", { password }, { quiet: true }));
}

/** Ends the session, here and at the bridge. */
export async function logOut() {
  try {
    await remove("/api/v1/session", { quiet: true });
  } finally {
    forgetSession();
  }
}

/** @param {string} current @param {string} wanted */
export async function changePassword(current, wanted) {
  await put("/api/v1/password", { current, new: wanted }, { quiet: true });
  if (session.current) session.current.password_is_initial = false;
}

/** The session is over. */
export function forgetSession() {
  session.current = null;
  setCsrfToken(null);
}

function take(answer) {
  session.current = answer;
  setCsrfToken(answer.csrf_token);
  return answer;
}
