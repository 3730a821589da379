// One operation as a curl command; path parameters appear in capitals.

import { exampleOf } from "./docs-schema.js";

/** @import { Content, DocsContext, Endpoint, OpenApi } from "../types" */

/** @type {Record<string, string[]>} */
const BODIES = {
  "image/png": ["--data-binary @face.png"],
  "multipart/form-data": ["-F face.png=@face.png"],
};

/**
 * If the service requires a token, the command reads it from the shell variable LENSGATE_TOKEN.
 *
 * @param {Omit<Endpoint, "id">} endpoint
 * @param {DocsContext} context
 */
export function curlOf({ path, method, operation }, { document, access, origin }) {
  const body = operation.requestBody ? bodyOf(operation.requestBody.content, document) : [];
  return [
    "curl",
    ...(method === (body.length ? "post" : "get") ? [] : [`-X ${method.toUpperCase()}`]),
    ...(access === "on" ? ['-H "Authorization: Bearer $LENSGATE_TOKEN"'] : []),
    ...body,
    quote(origin + path.replaceAll(/{(\w+)}/g, (_, name) => name.toUpperCase())),
  ].join(" ");
}

/**
 * @param {Content} content
 * @param {OpenApi} document
 */
function bodyOf(content, document) {
  const [kind, { schema }] = Object.entries(content)[0];
  return (
    BODIES[kind] ?? [
      `-H ${quote(`Content-Type: ${kind}`)}`,
      `-d ${quote(JSON.stringify(exampleOf(schema ?? {}, document)))}`,
    ]
  );
}

/** @param {string} text */
function quote(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
