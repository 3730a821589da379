// Talks to the service: problems become ApiError, a lost session leads to /login.

export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.detail = detail;
  }
}

const SAFE = new Set(["GET", "HEAD"]);
let known = null;

// Who is logged in: {access, name, scopes, csrf}; asked for once.
export function session() {
  known ??= api("/v1/session").catch((error) => {
    known = null;
    throw error;
  });
  return known;
}

// The answer's JSON, or null where it has no body. `json` is encoded, `body` is sent as it is.
export async function api(path, { method = "GET", json, body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (!SAFE.has(method) && path !== "/v1/session") await addToken(headers);
  const response = await fetch(path, {
    method,
    headers,
    signal,
    body: json === undefined ? body : JSON.stringify(json),
    credentials: "same-origin",
  });
  return response.ok ? read(response) : refuse(response, path);
}

export async function logOut() {
  const { csrf } = await session();
  await fetch("/v1/session", { method: "DELETE", headers: csrf ? { "X-CSRF-Token": csrf } : {} });
  location.assign("/login");
}

async function addToken(headers) {
  const { csrf } = await session();
  if (csrf) headers["X-CSRF-Token"] = csrf;
}

async function read(response) {
  return response.status === 204 ? null : response.json();
}

async function refuse(response, path) {
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && location.pathname !== "/login") {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  throw new ApiError(
    response.status,
    problem.code ?? "unknown",
    problem.detail ?? `${path} answered with status ${response.status}`,
  );
}
