// Try an operation: a form of its parameters and body, and the response of the service.

import { session } from "./api.js";
import { exampleOf, limitsOf, nameOf, withoutNull } from "./docs-schema.js";
import { byId, h } from "./dom.js";
import { areReadable, UNREADABLE } from "./files.js";
import { milliseconds } from "./format.js";

/** @import { DocsContext, Endpoint, Media, OpenApi, Parameter } from "../types" */

/** @typedef {{ part: HTMLElement, read: () => Promise<BodyInit | null>, chosen: () => File[], kind?: string }} BodyField */

const MAX_CHARACTERS = 20_000;
const SAMPLE = "/static/sample.jpg";
const SAFE = new Set(["get", "head"]);
const TEXT = /json|^text\//;

/**
 * @param {Endpoint} endpoint
 * @param {DocsContext} context
 */
export function tryForm(endpoint, { document }) {
  const { id, operation } = endpoint;
  const fields = (operation.parameters ?? []).map((each) => parameterField(id, each, document));
  const body = operation.requestBody ? bodyField(id, operation.requestBody.content, document) : null;
  const result = h("div", { "aria-live": "polite", class: "docs-result" });
  const button = h("button", { type: "submit", class: "button" }, "Send");
  const form = h(
    "form",
    { class: "docs-try", novalidate: false },
    ...fields.map(({ part }) => part),
    body?.part,
    h("div", { class: "row" }, button),
    result,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    result.replaceChildren(h("p", { class: "soft" }, "Waiting for the response …"));
    try {
      result.replaceChildren(...(await send(endpoint, fields, body)));
    } catch (error) {
      const text = (await areReadable(body?.chosen() ?? [])) ? `No response: ${error}` : `Not sent: ${UNREADABLE}.`;
      result.replaceChildren(h("p", { class: "notice notice--bad" }, text));
    }
    button.disabled = false;
  });
  return h("section", {}, h("h3", {}, "Try it"), form);
}

/**
 * @param {string} id
 * @param {Parameter} parameter
 * @param {OpenApi} document
 */
function parameterField(id, { name, in: place, required, schema }, document) {
  const known = withoutNull(schema);
  const choices = nameOf(known, document).split(" | ");
  const limits = limitsOf(known);
  const attributes = { id: `${id}-${name}`, class: "input", required: Boolean(required) };
  const input =
    choices.length > 1
      ? h("select", attributes, ...["", ...choices].map((each) => h("option", { value: each }, each || "not sent")))
      : h("input", {
          ...attributes,
          autocomplete: "off",
          spellcheck: "false",
          placeholder: limits.includes("matches") ? "" : limits,
        });
  return {
    name,
    place,
    input,
    part: h("div", { class: "field" }, h("label", { for: attributes.id }, h("code", {}, name)), input),
  };
}

/**
 * @param {string} id
 * @param {Record<string, Media>} content
 * @param {OpenApi} document
 * @returns {BodyField}
 */
function bodyField(id, content, document) {
  const [kind, { schema }] = Object.entries(content)[0];
  if (kind.endsWith("json")) {
    const text = h("textarea", { id: `${id}-body`, class: "input docs-body", spellcheck: "false" });
    text.value = JSON.stringify(exampleOf(schema, document), null, 2);
    return { part: labelled(text, "Body"), read: async () => text.value, chosen: () => [], kind };
  }
  const file = h("input", { id: `${id}-body`, type: "file", class: "input" });
  const isForm = kind === "multipart/form-data";
  file.multiple = isForm;
  const chosen = () => [...(file.files ?? [])];
  const note = h("p", { class: "soft small" }, "Without a file, the sample image below is sent.");
  const sample = h("img", { src: SAMPLE, alt: "A drawn face with glasses", class: "docs-sample", loading: "lazy" });
  return {
    part: h("div", { class: "docs-image" }, labelled(file, isForm ? "Images" : "Image"), note, sample),
    chosen,
    read: async () => {
      const files = file.files?.length ? chosen() : [await sampleFile()];
      if (!isForm) return files[0];
      const form = new FormData();
      for (const each of files) form.append(each.name, each);
      return form;
    },
  };
}

/**
 * @param {HTMLElement} input
 * @param {string} title
 */
function labelled(input, title) {
  return h("div", { class: "field" }, h("label", { for: input.id }, title), input);
}

async function sampleFile() {
  const response = await fetch(SAMPLE);
  return new File([await response.blob()], "sample.jpg", { type: "image/jpeg" });
}

/**
 * @param {Endpoint} endpoint
 * @param {ReturnType<typeof parameterField>[]} fields
 * @param {BodyField | null} body
 */
async function send({ path, method }, fields, body) {
  const given = fields.filter(({ input }) => input.value !== "");
  const query = new URLSearchParams(
    given.filter(({ place }) => place === "query").map((one) => [one.name, one.input.value]),
  );
  const of = Object.fromEntries(given.map(({ name, input }) => [name, input.value]));
  const target = path.replaceAll(/{(\w+)}/g, (_, name) => encodeURIComponent(of[name] ?? ""));
  const headers = await credentials(method);
  for (const { name, place, input } of given) if (place === "header") headers.set(name, input.value);
  if (body?.kind) headers.set("Content-Type", body.kind);
  const started = performance.now();
  const response = await fetch(query.size ? `${target}?${query}` : target, {
    method: method.toUpperCase(),
    headers,
    body: (await body?.read()) ?? null,
    // The browser's own session is used only where no token is given.
    credentials: headers.has("Authorization") ? "omit" : "same-origin",
  });
  return show(response, performance.now() - started);
}

/** @param {string} method */
async function credentials(method) {
  const token = byId("token", HTMLInputElement).value.trim();
  const headers = new Headers();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  else if (!SAFE.has(method)) {
    const { csrf } = await session();
    if (csrf) headers.set("X-CSRF-Token", csrf);
  }
  return headers;
}

/**
 * @param {Response} response
 * @param {number} elapsed
 */
async function show(response, elapsed) {
  const kind = response.headers.get("content-type") ?? "";
  const head = h(
    "p",
    { class: "row" },
    h("span", { class: `badge badge--${response.ok ? "good" : "bad"}` }, `${response.status}`),
    h("span", { class: "soft small" }, [kind, milliseconds(elapsed)].filter(Boolean).join(" · ")),
  );
  if (kind.startsWith("image/")) {
    const address = URL.createObjectURL(await response.blob());
    const image = h("img", { src: address, alt: "The image of the response", class: "docs-sample" });
    image.addEventListener("load", () => URL.revokeObjectURL(address));
    return [head, image];
  }
  if (!TEXT.test(kind)) {
    const { size } = await response.blob();
    return [head, size ? h("p", {}, `${size.toLocaleString("en")} bytes`) : null].filter((each) => each !== null);
  }
  const text = readable(await response.text(), kind);
  return [head, h("pre", { class: "docs-code", tabindex: 0, "aria-label": "Response" }, h("code", {}, text))];
}

/**
 * @param {string} text
 * @param {string} kind
 */
function readable(text, kind) {
  const shown = /ndjson|^text\//.test(kind) ? text : indented(text);
  const left = shown.length - MAX_CHARACTERS;
  return left > 0 ? `${shown.slice(0, MAX_CHARACTERS)}\n… ${left.toLocaleString("en")} more characters` : shown;
}

/** @param {string} text */
function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
