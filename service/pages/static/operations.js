// The operations page: requests a snapshot every two seconds and passes it to the parts of the page.

import { warnOfPart } from "./address.js";
import { api, session, statusOf } from "./api.js";
import { Banners } from "./banners.js";
import { byId, h, say } from "./dom.js";
import { Errors } from "./errors.js";
import { count, counted, percent } from "./format.js";
import { showSession } from "./header.js";
import { describeDivided, drawHistogram, range } from "./histogram.js";
import { History } from "./history.js";
import { Latest } from "./latest.js";
import { Poll } from "./poll.js";
import { watchSources } from "./sources.js";
import { showLoad, showStages, showTiles } from "./tiles.js";
import { makeTry } from "./try.js";
import { showVersions } from "./versions.js";

/** @import { Operations, OperationsHistory, Session } from "../types" */

const page = {
  /** @type {Operations | null} */
  snapshot: null,
  banners: new Banners(() => poll.now()),
  latest: new Latest(byId("latest")),
  errors: new Errors(),
  history: new History((history) => {
    showVersions(history);
    page.errors.show(history);
  }),
  hasSources: false,
};

const poll = new Poll(async (signal) => {
  /** @type {Operations} */
  const snapshot = await api("/v1/operations", { signal }).catch((error) => {
    fail(error);
    throw error;
  });
  page.snapshot = snapshot;
  show(snapshot);
});

/** @param {Operations} snapshot */
function show(snapshot) {
  page.banners.answered(snapshot);
  const content = byId("content");
  content.hidden = false;
  content.classList.remove("is-stale");
  showTiles(snapshot);
  showStages(snapshot.latency.stages);
  showLoad(snapshot);
  showLinks(snapshot);
  chooseWindow();
  page.history.follow(snapshot);
  byId("errors-card").hidden = snapshot.records.state === "off";
  showScores(snapshot);
  page.latest.follow(snapshot);
  // Sources are known from records only.
  if (!page.hasSources && snapshot.records.state !== "off") {
    page.hasSources = true;
    watchSources();
  }
  content.setAttribute("aria-busy", "false");
}

/** Show the checked window. After Back, the browser checks the earlier one without an event. */
function chooseWindow() {
  const checked = byId("windows").querySelector("input:checked");
  if (checked) page.history.choose(/** @type {OperationsHistory["window"]} */ (checked.getAttribute("value")));
}

/** @param {unknown} error */
function fail(error) {
  if (statusOf(error) === 401) return;
  const content = byId("content");
  content.hidden = statusOf(error) === 403;
  content.classList.toggle("is-stale", page.snapshot !== null);
  page.banners.failed(error, page.snapshot);
}

/** @param {Operations} snapshot */
function showLinks({ links }) {
  for (const [id, href] of Object.entries({ grafana: links.grafana, runbooks: links.runbooks })) {
    const link = byId(id);
    link.hidden = href === null;
    if (href !== null) link.setAttribute("href", href);
  }
}

/** @param {Operations} snapshot */
function showScores({ scores, model }) {
  drawHistogram(byId("scores"), scores, model.band);
  const some = `The latest ${counted(scores.total, "score")} of version ${model.version}`;
  const latest = scores.total ? some : "No scores yet";
  const divided = describeDivided(model.band);
  say(byId("scores-note"), `${latest}; grey: scores in the model's card. The axis of shares is logarithmic.${divided}`);
  /**
   * @param {number} images
   * @param {number} bin
   */
  const cells = (images, bin) => [
    count(images),
    percent(scores.total ? images / scores.total : null),
    percent(scores.reference[bin]),
  ];
  byId("scores-table").replaceChildren(...scores.counts.map((images, bin) => row(range(bin), cells(images, bin))));
}

/**
 * @param {string} head
 * @param {string[]} cells
 */
function row(head, cells) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, head),
    cells.map((cell) => h("td", { class: "number" }, cell)),
  );
}

/** @param {Session["access"]} access */
function showCommand(access) {
  const token = access === "on" ? '-H "Authorization: Bearer $TOKEN" ' : "";
  say(byId("curl"), `curl ${token}--data-binary @face.png '${location.origin}/v1/decisions?id=face'`);
}

function offerCommand() {
  showCommand("off");
  session().then(
    ({ access }) => showCommand(access),
    () => {},
  );
  byId("copy").addEventListener("click", async () => {
    const copied = await navigator.clipboard?.writeText(byId("curl").textContent ?? "").then(
      () => true,
      () => false,
    );
    if (!copied) getSelection()?.selectAllChildren(byId("curl"));
    byId("copy").textContent = copied ? "Copied" : "Selected: press Ctrl+C";
  });
}

new ResizeObserver(() => page.snapshot && showScores(page.snapshot)).observe(byId("scores"));
byId("windows").addEventListener("change", () => {
  chooseWindow();
  poll.now();
});
warnOfPart(location.search, "this page shows the same for every query");
offerCommand();
makeTry(() => poll.now());
showSession().catch(() => {}); // The poll reports the same problem.
poll.now();
