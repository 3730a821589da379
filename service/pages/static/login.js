// The login: a token becomes a session, and the page that was wanted opens.

import { ApiError, api } from "./api.js";
import { byId, say } from "./dom.js";

const query = new URLSearchParams(location.search);
const [form, field, button, fault] = ["form", "token", "submit", "fault"].map(byId);

// Where to go on: a page of this service, whatever the address says.
function wanted() {
  const home = new URL("/", location.origin);
  try {
    const url = new URL(query.get("next") ?? "/", home);
    return url.origin === home.origin && url.pathname !== "/login" ? url : home;
  } catch {
    return home;
  }
}

function show(text) {
  say(fault, text);
  field.setAttribute("aria-invalid", String(text !== ""));
}

function explain(error) {
  if (!(error instanceof ApiError)) return "The service cannot be reached. Try again in a moment.";
  if (error.status === 401) return "This token is not known, or its time is over.";
  if (error.status === 409) return "No token is needed here: open Operations or Review.";
  return error.detail;
}

async function logIn(event) {
  event.preventDefault();
  if (button.hasAttribute("aria-disabled")) return;
  const token = field.value.trim();
  if (token === "") return refuse("Type or paste a token.");
  button.setAttribute("aria-disabled", "true");
  try {
    await api("/v1/session", { method: "POST", json: { token } });
    location.replace(wanted().href);
  } catch (error) {
    refuse(explain(error));
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

function refuse(text) {
  show(text);
  field.focus();
  field.select();
}

function tellWhatIsMissing() {
  const scope = query.get("missing");
  if (!["decide", "review", "admin"].includes(scope)) return;
  say(byId("missing"), `You are logged in with a token without the scope ${scope}, which this page needs. Log in with one that has it.`);
  byId("missing").hidden = false;
}

tellWhatIsMissing();
form.addEventListener("submit", logIn);
field.addEventListener("input", () => show(""));
