// One operation as a line for a shell; parts of its path that are to be filled in stand there in capitals.

import { exampleOf } from "./docs-schema.js";

const BODIES = {
  "image/png": ["--data-binary @face.png"],
  "multipart/form-data": ["-F face.png=@face.png"],
};

// `access`: "on" where the service asks for a token, which is then read from the shell's LENSGATE_TOKEN.
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

function bodyOf(content, document) {
  const [kind, { schema }] = Object.entries(content)[0];
  return BODIES[kind] ?? [`-H ${quote(`Content-Type: ${kind}`)}`, `-d ${quote(JSON.stringify(exampleOf(schema, document)))}`];
}

function quote(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
