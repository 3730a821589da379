// HTTP client of the pages: problem details become ApiError, an ended session redirects to /login.

/** @import { Session } from "../types" */

export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} detail
   */
  constructor(status, code, detail) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.detail = detail;
  }
}

const SAFE = new Set(["GET", "HEAD"]);
const TOKEN = "X-CSRF-Token";
const LOGIN = "/v1/session"; // The one unsafe request before there is a session.
// A connection that died without a word, as after a laptop's sleep, would keep its request open without end.
const LONGEST_MS = 30_000;

/** @type {Promise<Session> | null} */
let cached = null;
/** Whether the page has work that leaving it would lose. */
let hasUnsavedWork = () => false;

/**
 * Stay on the page without a session while it has unsaved work.
 *
 * @param {() => boolean} hasWork
 */
export function stayWhile(hasWork) {
  hasUnsavedWork = hasWork;
}

/** The login page, which leads back to this one. */
export function loginUrl() {
  return `/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`;
}

/**
 * The current session; requested once.
 *
 * @returns {Promise<Session>}
 */
export function session() {
  cached ??= api("/v1/session").catch((error) => {
    cached = null;
    throw error;
  });
  return cached;
}

/**
 * Send a request and return the JSON of the response, or null for 204. `json` is encoded, `body` is sent as it is.
 *
 * @param {string} path
 * @param {{ method?: string, json?: unknown, body?: BodyInit | null, signal?: AbortSignal }} [options]
 * @returns {Promise<any>}
 */
export async function api(path, { method = "GET", json, body, signal = AbortSignal.timeout(LONGEST_MS) } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (!SAFE.has(method) && !(method === "POST" && path === LOGIN)) await addToken(headers);
  const send = () =>
    fetch(path, {
      method,
      headers,
      signal,
      body: json === undefined ? body : JSON.stringify(json),
      credentials: "same-origin",
    });
  let response = await send();
  const token = headers[TOKEN];
  if (response.status === 403 && token) {
    // Another tab may have begun another session, which has another token.
    cached = null;
    await addToken(headers);
    if (headers[TOKEN] !== token) response = await send();
  }
  return response.ok ? read(response) : refuse(response, path);
}

export async function logOut() {
  await api("/v1/session", { method: "DELETE" });
  location.assign("/login");
}

/** @param {unknown} error */
export function statusOf(error) {
  return error instanceof ApiError ? error.status : 0;
}

/**
 * The error's text for readers; a failed connection has none worth showing.
 *
 * @param {unknown} error
 * @param {string} otherwise
 */
export function detailOf(error, otherwise) {
  return error instanceof ApiError ? error.detail : otherwise;
}

/** @param {Record<string, string>} headers */
async function addToken(headers) {
  const { csrf } = await session();
  if (csrf) headers[TOKEN] = csrf;
}

/** @param {Response} response */
async function read(response) {
  return response.status === 204 ? null : response.json();
}

/**
 * @param {Response} response
 * @param {string} path
 * @returns {Promise<never>}
 */
async function refuse(response, path) {
  const problem = await response.json().catch(() => null);
  if (response.status === 401 && location.pathname !== "/login") {
    // The next session has another token.
    cached = null;
    if (!hasUnsavedWork()) location.assign(loginUrl());
  }
  if (problem?.code) throw new ApiError(response.status, problem.code, problem.detail);
  // A proxy's answer, as during a restart, does not concern the request: it counts as a failed connection.
  const status = response.status === 401 ? 401 : 0;
  throw new ApiError(status, "unknown", `a proxy answered ${path} with status ${response.status}`);
}
