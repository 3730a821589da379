// The session in the header: its name and a button to log out.

import { api, logOut, session } from "./api.js";
import { byId, h, say } from "./dom.js";

export async function showSession() {
  // Back and forward bring back a page as it was left, also after its reader has logged out.
  window.addEventListener("pageshow", ({ persisted }) => {
    if (persisted) api("/v1/session").catch(() => {}); // An ended session leads to the login.
  });
  const { access, name } = await session();
  if (access !== "on") return;
  const onclick = () => logOut().catch(() => say(button, "Not logged out, try again"));
  const button = h("button", { type: "button", class: "button button--small", onclick }, "Log out");
  byId("session").replaceChildren(h("span", { class: "soft small" }, name), button);
}
