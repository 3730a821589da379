// Files that the reader chose: the browser sends none that has changed since, and no folder.

export const UNREADABLE =
  "the file cannot be read, because it has changed or moved since it was chosen, or is a folder: choose it again";

/**
 * Whether the browser can still read the files. A request with one that it cannot read fails as on a lost connection.
 *
 * @param {File[]} files
 */
export function areReadable(files) {
  return Promise.all(files.map((file) => file.slice(0, 1).arrayBuffer())).then(
    () => true,
    () => false,
  );
}
