// JSON schemas in few words, and an example that fits each.

const DEEPEST = 8;

function resolve(schema, document) {
  const name = schema?.$ref?.split("/").pop();
  return name ? document.components.schemas[name] : (schema ?? {});
}

// The name a schema has in the document, or what it is: `Record`, `string`, `glasses | no_glasses`, `number or null`.
export function nameOf(schema, document) {
  if (!schema || Object.keys(schema).length === 0) return "anything";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.$ref) return resolve(schema, document).enum?.join(" | ") ?? schema.$ref.split("/").pop();
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return [...new Set(choices.map((each) => nameOf(each, document)))].join(" or ");
  if (schema.type === "array") return `list of ${nameOf(schema.items, document)}`;
  if (schema.type === "object") return schema.title ?? "object";
  return schema.format === "binary" ? "bytes" : (schema.format ?? schema.type ?? "anything");
}

// What a value of the schema is where it is given at all, as in a query.
export function withoutNull(schema) {
  return schema.anyOf ? { ...schema, anyOf: schema.anyOf.filter(({ type }) => type !== "null") } : schema;
}

// What a value must keep to beyond its type, or "".
export function limitsOf(schema) {
  const { minimum, maximum, minLength, maxLength, pattern } = schema;
  const inner = (schema.anyOf ?? []).map(limitsOf).filter(Boolean);
  return [
    minimum !== undefined && `at least ${minimum}`,
    maximum !== undefined && `at most ${maximum}`,
    minLength !== undefined && `${minLength} characters or more`,
    maxLength !== undefined && `${maxLength} characters or fewer`,
    pattern && `matches ${pattern}`,
    ...inner,
  ]
    .filter(Boolean)
    .join(", ");
}

export function exampleOf(schema, document, depth = 0) {
  const found = resolve(schema, document);
  if (found.default !== undefined && found.default !== null) return found.default;
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  if (depth > DEEPEST) return null;
  const choices = found.anyOf ?? found.oneOf;
  if (choices) return exampleOf(choices.find((each) => each.type !== "null"), document, depth + 1);
  if (found.prefixItems) return found.prefixItems.map((each) => exampleOf(each, document, depth + 1));
  if (found.type === "array") return [exampleOf(found.items, document, depth + 1)];
  return found.type === "object" ? object(found, document, depth) : scalar(found);
}

function object({ properties, additionalProperties }, document, depth) {
  const members = properties ?? (additionalProperties ? { name: additionalProperties } : {});
  return Object.fromEntries(
    Object.entries(members).map(([name, each]) => [name, exampleOf(each, document, depth + 1)]),
  );
}

function scalar({ type, format, minimum }) {
  if (type === "integer" || type === "number") return minimum ?? 0;
  if (type === "boolean") return false;
  if (type === "string") return format === "date-time" ? "2026-01-02T03:04:05Z" : (format ?? "string");
  return null;
}
