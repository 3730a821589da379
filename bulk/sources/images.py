"""Image files: a unit is a few hundred of them."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from bulk.errors import FileTooLarge
from bulk.sources.chunking import Chunking
from bulk.sources.files import FileListing
from bulk.sources.sample import MAX_BYTES, Fetch, Sample, failing, key_of, unreadable
from bulk.work_unit import WorkUnit, slot_name
from common.storage import FileStore, ObjectStore, StoredFile
from common.webdataset import distinct_path
from gate.files import read_at_most

_CHUNKING = Chunking()

# Files fetched from an object store at a time; the next group is prefetched while one is judged.
_GROUP_FILES = 32
_GROUP_BYTES = 32 * 2**20


def image_units(files: FileListing, source: str) -> Iterator[WorkUnit]:
    """Cut `files`, all of them images, into units."""
    root = files.root
    for number, group in enumerate(_CHUNKING.groups(files, root)):
        # The first unit's identity does not depend on its first file: a later file may sort before it.
        start = _relative(group[0].title, root) if number else ""
        slot = slot_name("images", start or root.rpartition("/")[2], source, start)
        yield WorkUnit(kind="images", source=source, root=root, slot=slot, files=group, images=len(group))


def read_images(unit: WorkUnit, store: FileStore) -> Iterator[Sample]:
    """Yield a sample for each file of a unit. Local files are read lazily."""
    if isinstance(store, ObjectStore):
        for group, contents in _read_ahead(_groups(unit.files), store):
            for file in group:
                yield _sample(file, unit, store, partial(_take, contents.get(file.path)))
    else:
        for file in unit.files:
            yield _sample(file, unit, store, partial(_read, store, file))


def _sample(file: StoredFile, unit: WorkUnit, store: FileStore, fetch: Fetch) -> Sample:
    if (file.size or 0) > MAX_BYTES:
        fetch = failing(FileTooLarge(f"{file.size:,} bytes: at most {MAX_BYTES:,} are read of a file"))
    name = _relative(file.title, unit.root)
    stem, _, ending = name.rpartition(".")
    folder = store.name(file.path).rpartition("/")[0] or "/"
    return Sample(distinct_path(name), folder, fetch, file.size or 0, key=key_of(stem, safe="/"), ending=ending.lower())


def _read(store: FileStore, listed: StoredFile) -> bytes:
    try:
        with store.open(listed.path) as file:
            # The file may have grown since it was listed, or be growing now.
            data = read_at_most(file, MAX_BYTES + 1, expected=listed.size or 0)
    except OSError as error:
        raise unreadable("the file cannot be read", error) from None
    return _checked(data)


def _checked(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise FileTooLarge(f"more than {MAX_BYTES:,} bytes, which is the most that is read of a file")
    return data


def _take(content: bytes | Exception | None) -> bytes:
    if isinstance(content, Exception):
        raise unreadable("the file cannot be read", content) from None
    return _checked(content or b"")


def _groups(files: Iterable[StoredFile]) -> Iterator[list[StoredFile]]:
    group: list[StoredFile] = []
    size = 0
    for file in files:
        if group and (len(group) == _GROUP_FILES or size + (file.size or 0) > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size or 0
    yield group


def _read_ahead(
    groups: Iterable[list[StoredFile]], store: ObjectStore
) -> Iterator[tuple[list[StoredFile], Mapping[str, bytes | Exception]]]:
    def load(group: list[StoredFile]) -> Mapping[str, bytes | Exception]:
        paths = [file.path for file in group if (file.size or 0) <= MAX_BYTES]
        return dict(zip(paths, store.read_many(paths), strict=True))

    coming: deque[tuple[list[StoredFile], Future[Mapping[str, bytes | Exception]]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        for group in groups:
            coming.append((group, reader.submit(load, group)))
            if len(coming) > 1:
                first, contents = coming.popleft()
                yield first, contents.result()
        for last, contents in coming:
            yield last, contents.result()


def _relative(path: str, root: str) -> str:
    return path.removeprefix(root).lstrip("/")
