"""Records with another split of the shards of other records."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from common.storage import AnyPath, write_together
from training.data.image_table import ImageRow, count_labels, to_csv
from training.data.records import MANIFEST_FILE, TABLE_FILE, Manifest


def write_split(records: AnyPath, out: AnyPath, rows: Sequence[ImageRow], *, command: str) -> Manifest:
    """Write records with another split of the same shards; `rows` are those of `records` with changed splits.

    Raises:
        RecordsError: `records` is unfinished.
        StorageError: the storage is unreachable.
    """
    manifest, table = Manifest.read(records), to_csv(rows)
    home = manifest.home(records)
    resplit = manifest.model_copy(
        update={
            "command": command,
            "data": tuple(one.model_copy(update={"images": count_labels(one.name, rows)}) for one in manifest.data),
            "table": hashlib.sha256(table).hexdigest(),
            "base": str(home.absolute() if isinstance(home, Path) else home),
        }
    )
    write_together(out, {TABLE_FILE: table, MANIFEST_FILE: resplit.model_dump_json(indent=2).encode()})
    return resplit
