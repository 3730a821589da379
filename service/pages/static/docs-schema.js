// Describes JSON schemas in a few words, with an example that fits each.

/** @import { OpenApi, Schema } from "../types" */

const MAX_DEPTH = 8;

/**
 * @param {Schema | undefined} schema
 * @param {OpenApi} document
 * @returns {Schema}
 */
function resolve(schema, document) {
  const name = schema?.$ref?.split("/").pop();
  return name ? document.components.schemas[name] : (schema ?? {});
}

/**
 * The schema's name in the document or its type: `Record`, `string`, `glasses | no_glasses`, `number or null`.
 *
 * @param {Schema | undefined} schema
 * @param {OpenApi} document
 * @returns {string}
 */
export function nameOf(schema, document) {
  if (!schema || Object.keys(schema).length === 0) return "anything";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.$ref) return resolve(schema, document).enum?.join(" | ") ?? schema.$ref.split("/").at(-1) ?? "";
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return [...new Set(choices.map((each) => nameOf(each, document)))].join(" or ");
  if (schema.type === "array") return `list of ${nameOf(schema.items, document)}`;
  if (schema.type === "object") return schema.title ?? "object";
  return schema.format === "binary" ? "bytes" : (schema.format ?? schema.type ?? "anything");
}

/**
 * The schema of a value that is present, as in a query.
 *
 * @param {Schema} schema
 * @returns {Schema}
 */
export function withoutNull(schema) {
  return schema.anyOf ? { ...schema, anyOf: schema.anyOf.filter(({ type }) => type !== "null") } : schema;
}

/**
 * The constraints beyond the type, or "".
 *
 * @param {Schema} schema
 * @returns {string}
 */
export function limitsOf(schema) {
  const { minimum, maximum, minLength, maxLength, pattern } = schema;
  const inner = (schema.anyOf ?? []).map(limitsOf).filter(Boolean);
  return [
    minimum !== undefined && `at least ${minimum}`,
    maximum !== undefined && `at most ${maximum}`,
    minLength !== undefined && `at least ${minLength} characters`,
    maxLength !== undefined && `at most ${maxLength} characters`,
    pattern && `matches ${pattern}`,
    ...inner,
  ]
    .filter(Boolean)
    .join(", ");
}

/**
 * @param {Schema | undefined} schema
 * @param {OpenApi} document
 * @param {number} [depth]
 * @returns {unknown}
 */
export function exampleOf(schema, document, depth = 0) {
  const found = resolve(schema, document);
  if (found.examples?.length) return found.examples[0];
  if (found.default !== undefined && found.default !== null) return found.default;
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  if (depth > MAX_DEPTH) return null;
  const choices = found.anyOf ?? found.oneOf;
  if (choices) {
    return exampleOf(
      choices.find((each) => each.type !== "null"),
      document,
      depth + 1,
    );
  }
  if (found.prefixItems) return found.prefixItems.map((each) => exampleOf(each, document, depth + 1));
  if (found.type === "array") return [exampleOf(found.items, document, depth + 1)];
  return found.type === "object" ? object(found, document, depth) : scalar(found);
}

/**
 * @param {Schema} schema
 * @param {OpenApi} document
 * @param {number} depth
 */
function object({ properties, additionalProperties }, document, depth) {
  const value = typeof additionalProperties === "object" ? additionalProperties : {};
  const members = properties ?? (additionalProperties ? { name: value } : {});
  return Object.fromEntries(
    Object.entries(members).map(([name, each]) => [name, exampleOf(each, document, depth + 1)]),
  );
}

/** @param {Schema} schema */
function scalar({ type, format, minimum }) {
  if (type === "integer" || type === "number") return minimum ?? 0;
  if (type === "boolean") return false;
  if (type === "string") return format === "date-time" ? "2026-01-02T03:04:05Z" : (format ?? "string");
  return null;
}
