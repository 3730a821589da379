// The login page: exchanges a token for a session and continues to the requested page.

import { ApiError, api, statusOf } from "./api.js";
import { byId, say } from "./dom.js";

const NO_COOKIE =
  "The token is right, but this browser has not kept the session's cookie. Allow cookies for this address.";

const query = new URLSearchParams(location.search);
const form = byId("form");
const field = byId("token", HTMLInputElement);
const button = byId("submit");
const fault = byId("fault");

/** The page to continue to; addresses outside this service lead to the start page. */
function target() {
  const home = new URL("/", location.origin);
  try {
    const url = new URL(query.get("next") ?? "/", home);
    // A redirect keeps the fragment of the page that it leads away from.
    url.hash ||= location.hash;
    return url.origin === home.origin && url.pathname !== "/login" ? url : home;
  } catch {
    return home;
  }
}

/** @param {string} text */
function show(text) {
  say(fault, text);
  field.setAttribute("aria-invalid", String(text !== ""));
}

/** @param {unknown} error */
function explain(error) {
  if (!(error instanceof ApiError)) return "The service cannot be reached. Try again in a moment.";
  if (error.status === 401) return "Unknown or expired token.";
  if (error.status === 409) return "This service requires no token: open Operations or Review.";
  return error.detail;
}

function hasCookie() {
  return api("/v1/session").then(
    () => true,
    (error) => statusOf(error) !== 401,
  );
}

/** @param {Event} event */
async function logIn(event) {
  event.preventDefault();
  if (button.hasAttribute("aria-disabled")) return;
  const token = field.value.trim();
  if (token === "") {
    refuse("Enter a token.");
    return;
  }
  button.setAttribute("aria-disabled", "true");
  try {
    await api("/v1/session", { method: "POST", json: { token } });
    if (!(await hasCookie())) throw new ApiError(0, "no_cookie", NO_COOKIE);
    location.replace(target().href);
  } catch (error) {
    refuse(explain(error));
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** @param {string} text */
function refuse(text) {
  show(text);
  field.focus();
  field.select();
}

function showMissingScope() {
  const scope = query.get("missing") ?? "";
  if (!["decide", "review", "admin"].includes(scope)) return;
  say(
    byId("missing"),
    `This page requires the scope ${scope}, which your token lacks. Log in with a token that has it.`,
  );
  byId("missing").hidden = false;
}

showMissingScope();
form.addEventListener("submit", logIn);
field.addEventListener("input", () => show(""));
