"""Files on this machine, in object stores and on web servers, through one interface.

`locate` opens the store behind a URL: `LocalFiles`, `ObjectStore` or `WebFiles`, which list, read and publish files.
`StoragePath` stands in for `pathlib.Path` where a program takes either a folder or the URL of one.
"""

from common.storage.local import LOCK, TEMPORARY, LocalFiles
from common.storage.objects import ObjectStore, WebFiles
from common.storage.path import (
    AnyPath,
    StoragePath,
    atomic_file,
    locked,
    parse_path,
    remove_tree,
    require_place,
    sizes_of,
    write_atomically,
    write_together,
)
from common.storage.stores import full_url, local_path, locate
from common.storage.types import FileStore, Listing, StoredFile, any_path
from common.storage.urls import plain_url, without_secrets

__all__ = [
    "LOCK",
    "TEMPORARY",
    "AnyPath",
    "FileStore",
    "Listing",
    "LocalFiles",
    "ObjectStore",
    "StoragePath",
    "StoredFile",
    "WebFiles",
    "any_path",
    "atomic_file",
    "full_url",
    "local_path",
    "locate",
    "locked",
    "parse_path",
    "plain_url",
    "remove_tree",
    "require_place",
    "sizes_of",
    "without_secrets",
    "write_atomically",
    "write_together",
]
