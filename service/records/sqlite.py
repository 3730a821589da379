"""Connections to one SQLite file, which may be moved or replaced while they are open."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError, OperationalError

BUSY_SECONDS = 5

Files = tuple[tuple[int, int] | None, tuple[int, int] | None]
"""Device and inode of FILE and of FILE-wal."""

_ATTEMPT_MILLISECONDS = 10

_INSERTED_ROWS = 20
"""Rows of one INSERT. A connection keeps 128 statements, and each number of rows is a statement with values of its own:
with SQLAlchemy's 1,000 they grew to 70 MB, and a row took a tenth longer."""

LOG_BYTES = 16 * 2**20
"""The size to which FILE-wal returns."""

_CHECKPOINT_MILLISECONDS = 1_000

_PRAGMAS = (
    # Readers and the writer do not block each other; commits survive a crash of the process, not a power failure.
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    # A long reader, such as a backup, lets FILE-wal grow; by default it keeps that size.
    f"journal_size_limit={LOG_BYTES}",
    # A read-only container may have no folder for temporary files. The largest sort, of 100,000 decisions, takes 10 MB.
    "temp_store=MEMORY",
)

_REMEDIES = {
    (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB): (
        "move the SQLite file of LENSGATE_RECORDS_URL away, with FILE-wal and FILE-shm, and put a backup or the result "
        "of `sqlite3 FILE .recover` in its place, or none to begin new records; no restart is needed"
    ),
    (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM): (
        "user {user} must be able to write the SQLite file of LENSGATE_RECORDS_URL, its folder, FILE-wal and FILE-shm"
    ),
    (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL): (
        "the SQLite file of LENSGATE_RECORDS_URL must be on a local disk, as network file systems lack the locks and "
        "the shared memory that it needs, and the disk must work"
    ),
    (sqlite3.SQLITE_BUSY,): (
        "another program has locked the SQLite file of LENSGATE_RECORDS_URL, or its file system lacks locks"
    ),
}


def describe(error: Exception) -> str:
    """Return the text of an error, with its usual remedy."""
    code = _code(error)
    remedies = (remedy.format(user=os.geteuid()) for codes, remedy in _REMEDIES.items() if code in codes)
    return ": ".join([str(error), *remedies])


def is_locked(error: Exception) -> bool:
    """Whether another program holds a lock; the file is as it was."""
    return _code(error) == sqlite3.SQLITE_BUSY


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)) & 0xFF


def make_engine(url: URL) -> Engine:
    """Make an engine for `sqlite:///FILE`; create the folder if it is missing."""
    path = Path(str(url.database))
    latest: Files = (None, None)
    engine = create_engine(
        url,
        pool_timeout=BUSY_SECONDS,
        connect_args={"timeout": BUSY_SECONDS},
        insertmanyvalues_page_size=_INSERTED_ROWS,
    )

    @event.listens_for(engine, "do_connect")
    def make_folder(*_: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
        _refuse_other_file(path)
        _delete_log_of_other_file(path, latest)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        nonlocal latest
        files = _identify_files(path)
        if _is_log_of_other_file(files, latest):
            raise DisconnectionError(f"{path} was replaced while it was opened")
        record.info["files"] = latest = files

    @event.listens_for(engine, "checkout")
    def check(connection: Any, record: Any, _: object) -> None:
        nonlocal latest
        known, found = record.info["files"], _identify_files(path)
        if known == (found[0], None):  # A new file has its log from the first write on.
            record.info["files"] = latest = found
        # SQLite accepts writes to deleted files and loses them.
        elif known != found:
            with contextlib.suppress(sqlite3.Error):  # Save what is in a deleted FILE-wal.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
            raise DisconnectionError(f"{path} or its -wal was deleted or replaced")

    return engine


def begin_immediate(connection: Connection) -> None:
    """Begin a transaction that writes, after waiting up to `BUSY_SECONDS` for those of others.

    SQLite tries again after pauses that grow to 100 ms. A writer that leaves the lock for a moment only, between two
    transactions, would keep it from all others. Here the pauses stay below 10 ms.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with _waiting(connection, _ATTEMPT_MILLISECONDS):
        while True:
            try:
                # Python starts a transaction at the first INSERT, so not for CREATE TABLE.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                if time.monotonic() > deadline or error.orig is None or not is_locked(error.orig):
                    raise
            else:
                return


def shorten_log(connection: Connection) -> None:
    """Empty FILE-wal if it has grown. Writers wait meanwhile, so not for long.

    SQLite begins it anew by itself at a moment without readers; readers that overlap leave none, and it would grow for
    as long as they go on.
    """
    log = _log_of(Path(str(connection.engine.url.database)))
    if log.exists() and log.stat().st_size > LOG_BYTES:
        with _waiting(connection, _CHECKPOINT_MILLISECONDS):
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()


@contextlib.contextmanager
def _waiting(connection: Connection, milliseconds: int) -> Iterator[None]:
    """Let each statement wait this long for a lock while the block runs."""
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA busy_timeout={milliseconds}").close()
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}").close()


def _make_private(path: Path) -> None:
    """Create a missing file for its owner alone; SQLite would follow the umask, by which others often may read it."""
    # An existing file is never opened: closing it would release the locks that SQLite holds on it.
    with contextlib.suppress(OSError):  # SQLite reports why it cannot be created.
        os.close(os.open(path.resolve(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _refuse_other_file(path: Path) -> None:
    """Raise what SQLite raises about other files: it takes one of a single byte for empty, and overwrites it."""
    if path.is_file() and path.stat().st_size == 1:
        error = sqlite3.DatabaseError("file is not a database")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error


def _log_of(path: Path) -> Path:
    return Path(f"{os.path.realpath(path)}-wal")  # SQLite follows links.


def _delete_log_of_other_file(path: Path, latest: Files) -> None:
    """Delete what stays of a replaced file: its log would change the new one, and be shared by connections to both."""
    if _is_log_of_other_file(_identify_files(path), latest):
        log = _log_of(path)
        with contextlib.suppress(OSError):
            log.unlink()
            log.with_name(f"{log.name.removesuffix('-wal')}-shm").unlink()


def _is_log_of_other_file(found: Files, latest: Files) -> bool:
    return found[0] != latest[0] and found[1] is not None and found[1] == latest[1]


def _identify_files(path: Path) -> Files:
    return _identify(path), _identify(_log_of(path))


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
