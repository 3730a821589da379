// Previews for the review: they load again after failures, and a verdict needs one that is on the screen.

const RETRY_MS = 5_000;

/** @type {WeakSet<HTMLImageElement>} */
const deleted = new WeakSet();

/**
 * Load the preview into the element, which receives a `change` event whenever its state changes.
 *
 * @param {HTMLImageElement} picture
 * @param {string | null} url
 */
export function load(picture, url) {
  const change = () => picture.dispatchEvent(new Event("change"));
  if (url === null) {
    deleted.add(picture);
    return;
  }
  picture.addEventListener("load", change);
  picture.addEventListener("error", async () => {
    change();
    const status = await fetch(url).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 404) deleted.add(picture);
    else setTimeout(() => picture.setAttribute("src", url), RETRY_MS);
    change();
  });
  picture.src = url;
}

/** @param {HTMLImageElement} picture */
export function isLoaded(picture) {
  return picture.complete && picture.naturalWidth > 0;
}

/** @param {HTMLImageElement} picture */
export function isDeleted(picture) {
  return deleted.has(picture);
}
