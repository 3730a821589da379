// One operation: its line in the list, and behind it parameters, body, answers and the command.

import { curlOf } from "./docs-curl.js";
import { exampleOf, limitsOf, nameOf, withoutNull } from "./docs-schema.js";
import { h, say } from "./dom.js";

const BADGES = { get: "info", post: "good", put: "warn", delete: "bad" };
const TOLD_MS = 2000;

export function describe({ id, path, method, operation }, context) {
  const words = [method, path, operation.summary, ...(operation.tags ?? [])].join(" ").toLowerCase();
  return h(
    "details",
    { id, class: "docs-operation", "data-words": words },
    h(
      "summary",
      {},
      h("span", { class: `badge badge--${BADGES[method]} docs-method` }, method.toUpperCase()),
      h("span", {}, ...inline(operation.summary)),
    ),
    h(
      "div",
      { class: "stack docs-inside" },
      command(curlOf({ path, method, operation }, context)),
      parameters(operation.parameters ?? [], context.document),
      body(operation.requestBody, context.document),
      answers(operation.responses, context.document),
    ),
  );
}

function command(line) {
  const code = h("code", {}, line);
  const button = h("button", { type: "button", class: "button button--small" }, "Copy");
  const told = h("span", { class: "soft small", role: "status" });
  button.addEventListener("click", async () => {
    say(told, (await copy(line, code)) ? "Copied" : "Marked: copy it with the keyboard");
    setTimeout(() => say(told, ""), TOLD_MS);
  });
  return h(
    "section",
    {},
    h("div", { class: "row docs-command-head" }, h("h3", {}, "Command"), button, told),
    h("pre", { class: "docs-code", tabindex: 0, "aria-label": "Command" }, code),
  );
}

// Browsers let pages write to the clipboard over HTTPS and on this machine alone; elsewhere the line is marked.
async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return false;
  }
}

function parameters(found, document) {
  if (found.length === 0) return null;
  const rows = found.map(({ name, in: place, required, schema, description }) => [
    h("code", {}, name),
    required ? `${place}, required` : place,
    [nameOf(withoutNull(schema), document), limitsOf(schema)].filter(Boolean).join(", "),
    inline(description ?? ""),
  ]);
  return h("section", {}, h("h3", {}, "Parameters"), table(["Name", "In", "Value", "Meaning"], rows));
}

function body(found, document) {
  if (!found) return null;
  const kinds = Object.entries(found.content);
  const rows = kinds.map(([kind, { schema }]) => [h("code", {}, kind), nameOf(schema, document)]);
  const [, { schema }] = kinds.find(([kind]) => kind.endsWith("json")) ?? [null, {}];
  return h(
    "section",
    {},
    h("h3", {}, "Body"),
    table(["Content-Type", "Schema"], rows),
    schema ? example("Example of a body", exampleOf(schema, document)) : null,
  );
}

function answers(found, document) {
  const all = Object.entries(found).map(([status, { description, content }]) => {
    const [kind, { schema }] = Object.entries(content ?? {})[0] ?? [null, {}];
    return { status, description, kind, schema };
  });
  const rows = all.map(({ status, description, kind, schema }) => [
    h("code", {}, status),
    inline(description),
    kind ? [h("code", {}, kind), h("br"), nameOf(schema, document)] : "–",
  ]);
  const described = all.filter(({ schema }) => Object.keys(schema ?? {}).length > 0);
  const good = described.find(({ status }) => status.startsWith("2"));
  const bad = described.find(({ status }) => !status.startsWith("2")); // All others look like it.
  return h(
    "section",
    {},
    h("h3", {}, "Answers"),
    table(["Status", "Meaning", "Content"], rows),
    ...[good, bad].map((each) => each && example(`Example of ${each.status}`, exampleOf(each.schema, document))),
  );
}

function example(title, value) {
  return h(
    "details",
    { class: "docs-example" },
    h("summary", {}, title),
    h("pre", { class: "docs-code", tabindex: 0, "aria-label": title }, h("code", {}, JSON.stringify(value, null, 2))),
  );
}

function table(heads, rows) {
  return h(
    "div",
    { class: "table-wrap", tabindex: 0, role: "group", "aria-label": heads.join(", ") },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, ...[cell].flat()))))),
    ),
  );
}

// Text with `code` in it.
function inline(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}
