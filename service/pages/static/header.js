// The session in the header: its name and a button to log out.

import { logOut, session } from "./api.js";
import { byId, h } from "./dom.js";

export async function showSession() {
  const { access, name } = await session();
  if (access !== "on") return;
  const button = h("button", { type: "button", class: "button button--small", onclick: logOut }, "Log out");
  byId("session").replaceChildren(h("span", { class: "soft small" }, name), button);
}
