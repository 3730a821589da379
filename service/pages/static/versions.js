// Compares the versions that decided in the chosen window.

import { byId, h } from "./dom.js";
import { count, percent } from "./format.js";

/** @import { OperationsHistory } from "../types" */

/** @param {OperationsHistory} history */
export function showVersions({ versions, times, step_seconds: step }) {
  byId("versions-card").hidden = versions.length === 0;
  const since = new Date((times[0] - step) * 1000).toISOString().replace(".000Z", "Z");
  byId("versions").replaceChildren(...versions.map((version) => row(version, since)));
}

/**
 * @param {OperationsHistory["versions"][number]} version
 * @param {string} since
 */
function row(version, since) {
  const { images, reject_ratio: ratio, reject_lower: lower, reject_upper: upper } = version;
  const href = `/decisions?${new URLSearchParams({ version: version.version, decision: "discard", since })}`;
  const cells = [version.unfamiliar, version.uncertain, version.contradicted].map((part) => percent(part / images));
  return h(
    "tr",
    {},
    h("th", { scope: "row", class: "version-name" }, version.version),
    h("td", { class: "number" }, count(images)),
    h(
      "td",
      { class: "number" },
      h("a", { href, title: `discarded by version ${version.version}` }, percent(ratio)),
      h("span", { class: "soft small version-interval" }, `${percent(lower)} to ${percent(upper)}`),
    ),
    [percent(version.glasses / images), ...cells].map((cell) => h("td", { class: "number" }, cell)),
  );
}
