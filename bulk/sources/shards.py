"""WebDataset tars: a part is one tar, read from front to back and never unpacked."""

import json
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Self

from bulk.errors import CorruptShard, FileTooLarge, InvalidExpected, MissingImage, RowError
from bulk.job import Columns
from bulk.part import Part, slot_name
from bulk.places import Place
from bulk.sources.files import Listed
from bulk.sources.sample import MAX_BYTES, Sample, failing, given, read_label, unreadable
from gate import Label
from gate.header import IMAGE_ENDINGS

ENDINGS = (".tar", ".tar.gz", ".tgz")

_BUFFER_BYTES = 2**20
_JSON = "json"


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of a sample; its bytes, those that are not needed left out, or what is wrong with it."""

    ending: str
    body: bytes | RowError | None

    @property
    def is_image(self) -> bool:
        return f".{self.ending}".lower().endswith(IMAGE_ENDINGS)


def tar_parts(files: Listed, source: str) -> Iterator[Part]:
    """A part for each of `files`, all of them tars. Its shard has one name by whatever pattern the tar is found."""
    root = files.root
    for item in files:
        title = _split(item.title.removeprefix(root))[0]
        yield Part("webdataset", source, root, slot_name("webdataset", title, files.place.name(item.path)), (item,))


def read_tar(part: Part, place: Place, columns: Columns, *, whole: bool) -> Iterator[Sample]:
    """The samples of a tar, in order; of those the other members too if `whole`.

    What cannot be read any more is one last sample that fails.
    """
    path = part.items[0].path
    source = place.name(path)
    try:
        with place.open(path, ahead=True) as file, _open(file) as tar:
            for key, members in _groups(tar, columns, whole=whole):
                yield _sample(key, members, source=source, columns=columns)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        yield Sample("", source, failing(CorruptShard(f"the tar cannot be read from here on: {error}")))
    except Exception as error:  # Stores' clients raise what they like.
        yield Sample("", source, failing(unreadable("the tar cannot be read from here on", error)))


class _StrictInfo(tarfile.TarInfo):
    """Raises where tarfile takes a damaged header, or the early end of the file, for the end of the tar."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _EndOfTar:
            raise
        except _HeaderError as error:
            raise _ReadError(f"{error}, so that it is damaged or was cut off") from None


# By other names, since `fromtarfile` has to call its argument as the module.
_EndOfTar = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_HeaderError, _ReadError = tarfile.HeaderError, tarfile.ReadError


def _open(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|*", bufsize=_BUFFER_BYTES, tarinfo=_StrictInfo)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        # Nothing that went by is needed again.
        tar.members.clear()  # type: ignore[attr-defined]
        if not (member.isdir() or member.name.rpartition("/")[2].startswith(".")):
            yield member


def _groups(tar: tarfile.TarFile, columns: Columns, *, whole: bool) -> Iterator[tuple[str, list[_Member]]]:
    """Members of one key that follow each other, as far as they can be read."""
    last, group = "", list[_Member]()
    try:
        for info in _members(tar):
            key, ending = _split(info.name)
            if group and key != last:
                yield last, group
                group = []
            last = key
            group.append(
                _read(tar, info, ending, is_needed=whole or (ending == _JSON and columns.expected is not None))
            )
    except Exception:
        if _image(group):
            yield last, group
        raise
    if group:
        yield last, group


def _split(name: str) -> tuple[str, str]:
    """Key and ending, as WebDataset tells them apart: at the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return folder + slash + stem, ending


def _read(tar: tarfile.TarFile, info: tarfile.TarInfo, ending: str, *, is_needed: bool) -> _Member:
    """Images are needed always. What is wrong is found in the header: no decision depends on what is kept."""
    member = _Member(ending, _fault(info))
    if member.body is not None or not (is_needed or member.is_image):
        return member
    file = tar.extractfile(info)
    return _Member(ending, file.read() if file else b"")


def _fault(info: tarfile.TarInfo) -> RowError | None:
    if not info.isfile():
        return MissingImage(f"{info.name} is a link or device: a tar that is read once has no way back to its target")
    if info.size > MAX_BYTES:
        return FileTooLarge(f"{info.name} has {info.size:,} bytes: at most {MAX_BYTES:,} are read of a member")
    return None


def _sample(key: str, members: Sequence[_Member], *, source: str, columns: Columns) -> Sample:
    image = _image(members)
    beside = [(other.ending, other.body) for other in members if other is not image and isinstance(other.body, bytes)]
    try:
        expected = _expected(members, columns)
        data = _bytes(image, members)
    except RowError as error:
        return Sample(key, source, failing(error))
    size = len(data) + sum(len(body) for _, body in beside)
    return Sample(key, source, given(data), size, key, image.ending if image else "", beside, expected)


def _image(members: Sequence[_Member]) -> _Member | None:
    """The first `.png`, rather than the first `.mask.png`."""
    images = [member for member in members if member.is_image]
    return min(images, key=lambda member: "." in member.ending, default=None)


def _bytes(image: _Member | None, members: Sequence[_Member]) -> bytes:
    for member in members:
        if isinstance(member.body, RowError):
            raise member.body
    if image is None or not isinstance(image.body, bytes):
        endings = ", ".join(f".{member.ending}" for member in members)
        raise MissingImage(f"the sample has no image, only {endings}")
    return image.body


def _expected(members: Sequence[_Member], columns: Columns) -> Label | None:
    if columns.expected is None:
        return None
    body = next((member.body for member in members if member.ending == _JSON), None)
    if not isinstance(body, bytes):
        return None
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidExpected(f"the sample's .json cannot be read: {error}") from error
    return read_label(fields.get(columns.expected)) if isinstance(fields, dict) else None
