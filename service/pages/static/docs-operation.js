// One operation: a line of the list that opens to its parameters, body, responses and curl command.

import { curlOf } from "./docs-curl.js";
import { exampleOf, limitsOf, nameOf, withoutNull } from "./docs-schema.js";
import { tryForm } from "./docs-try.js";
import { h, say } from "./dom.js";

/** @import { DocsContext, Endpoint, OpenApi, Operation, Parameter } from "../types" */
/** @import { Child } from "./dom.js" */

/** @type {Record<string, string>} */
const BADGES = { get: "info", post: "good", put: "warn", delete: "bad" };
const COPIED_MS = 2000;

/**
 * @param {Endpoint} endpoint
 * @param {DocsContext} context
 */
export function describe({ id, path, method, operation }, context) {
  const { summary, description, tags } = operation;
  const words = [method, path, summary, description, ...(tags ?? [])].join(" ").toLowerCase();
  return h(
    "details",
    { id, class: "docs-operation", "data-words": words },
    h(
      "summary",
      {},
      h("span", { class: `badge badge--${BADGES[method]} docs-method` }, method.toUpperCase()),
      h("code", { class: "docs-route" }, path),
      h("span", { class: "docs-summary" }, ...inline(summary)),
    ),
    h(
      "div",
      { class: "stack docs-inside" },
      description ? h("p", { class: "docs-text" }, ...inline(description)) : null,
      command(curlOf({ path, method, operation }, context)),
      parameters(operation.parameters ?? [], context.document),
      body(operation.requestBody, context.document),
      responses(operation.responses, context.document),
      tryForm({ id, path, method, operation }, context),
    ),
  );
}

/** @param {string} line */
function command(line) {
  const code = h("code", {}, line);
  const button = h("button", { type: "button", class: "button button--small" }, "Copy");
  const result = h("span", { class: "soft small", role: "status" });
  button.addEventListener("click", async () => {
    say(result, (await copy(line, code)) ? "Copied" : "Selected: copy it with the keyboard");
    setTimeout(() => say(result, ""), COPIED_MS);
  });
  return h(
    "section",
    {},
    h("div", { class: "row docs-command-head" }, h("h3", {}, "Command"), button, result),
    h("pre", { class: "docs-code", tabindex: 0, "aria-label": "Command" }, code),
  );
}

/**
 * Copy the text, or select it: browsers allow the clipboard over HTTPS and on localhost only.
 *
 * @param {string} text
 * @param {Element} element
 */
async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}

/**
 * @param {Parameter[]} found
 * @param {OpenApi} document
 */
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

/**
 * @param {Operation["requestBody"]} found
 * @param {OpenApi} document
 */
function body(found, document) {
  if (!found) return null;
  const kinds = Object.entries(found.content);
  const rows = kinds.map(([kind, { schema }]) => [h("code", {}, kind), nameOf(schema, document)]);
  const schema = kinds.find(([kind]) => kind.endsWith("json"))?.[1].schema;
  return h(
    "section",
    {},
    h("h3", {}, "Request body"),
    table(["Content-Type", "Schema"], rows),
    schema ? example("Example request body", exampleOf(schema, document)) : null,
  );
}

/**
 * @param {Operation["responses"]} found
 * @param {OpenApi} document
 */
function responses(found, document) {
  const all = Object.entries(found).map(([status, { description, content }]) => {
    const [kind, media] = Object.entries(content ?? {})[0] ?? [];
    return { status, description, kind, schema: media?.schema };
  });
  const rows = all.map(({ status, description, kind, schema }) => [
    h("code", {}, status),
    inline(description),
    kind ? [h("code", {}, kind), h("br"), nameOf(schema, document)] : "–",
  ]);
  const described = all.filter(({ schema }) => Object.keys(schema ?? {}).length > 0);
  const success = described.find(({ status }) => status.startsWith("2"));
  const problem = described.find(({ status }) => !status.startsWith("2")); // All problems have the same schema.
  return h(
    "section",
    {},
    h("h3", {}, "Responses"),
    table(["Status", "Meaning", "Content"], rows),
    success ? example(`Example of ${success.status}`, exampleOf(success.schema, document)) : null,
    problem ? example("Example of an error", exampleOf(problem.schema, document)) : null,
  );
}

/**
 * @param {string} title
 * @param {unknown} value
 */
function example(title, value) {
  return h(
    "details",
    { class: "docs-example" },
    h("summary", {}, title),
    h("pre", { class: "docs-code", tabindex: 0, "aria-label": title }, h("code", {}, JSON.stringify(value, null, 2))),
  );
}

/**
 * @param {string[]} heads
 * @param {(Child | Child[])[][]} rows
 */
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

/**
 * Text with parts in backquotes as code.
 *
 * @param {string} text
 */
export function inline(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}
