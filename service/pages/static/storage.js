// Texts kept in the browser. Without its storage a page works, and starts with its defaults.

/**
 * The text kept under a key, or null.
 *
 * @param {string} key
 */
export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string} text
 */
export function store(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch {
    // The next visit starts with the defaults.
  }
}
