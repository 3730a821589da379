// Keys of the review page.

/**
 * The key as the shortcuts name it: by its place on layouts without Latin letters, or with digits behind Shift.
 *
 * @param {KeyboardEvent} event
 */
export function keyOf({ key, code, shiftKey }) {
  if (/^Digit[12]$/.test(code) && !shiftKey) return code.slice(-1);
  const isForeign = /^\p{Letter}$/u.test(key) && !/\p{Script=Latin}/u.test(key);
  if (isForeign && /^Key[A-Z]$/.test(code)) return code.slice(-1).toLowerCase();
  return key.length === 1 ? key.toLowerCase() : key;
}

/**
 * Whether keys are text for this element.
 *
 * @param {Element} target
 */
export function isTyping(target) {
  return target.matches("select, textarea, input:not([type=radio], [type=checkbox])");
}
