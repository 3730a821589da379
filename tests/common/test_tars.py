"""The service and bulk runs agree on the same archives, and match the expected verdicts."""

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulk.errors import RowError
from bulk.job import Columns
from bulk.sources.sample import MAX_BYTES
from bulk.sources.shards import read_tar
from bulk.work_unit import WorkUnit
from common.storage import StoredFile, locate
from common.terminal import printable
from common.webdataset import distinct_path, split_name
from service.api.batch.tar_framing import TarParser
from service.api.batch.upload_events import ImageEnd, ImageStart, RefusedImage, SettleHeld, UploadEvent
from service.errors import MalformedRequest
from tests.common.tars import Tar, Writer
from tests.service.streams.uploads import split as cut

Verdict = tuple[str, bytes | str]


class Lines:
    """Collects the events of a parser: the images that get a line, in order."""

    def __init__(self) -> None:
        self.lines: list[Verdict] = []
        self.held: list[Verdict] = []
        self._begun, self._content = ImageStart("", 0), b""

    def take(self, event: UploadEvent) -> None:
        match event:
            case ImageStart():
                self._begun, self._content = event, b""
            case ImageEnd():
                self._put(self._begun.name, self._content, is_held=self._begun.is_held)
            case RefusedImage():
                self._put(event.name, event.error.code, is_held=event.is_held)
            case SettleHeld():
                self.lines += self.held if event.is_judged else []
                self.held = []
            case bytes() | memoryview():
                self._content += event

    def _put(self, name: str, verdict: bytes | str, *, is_held: bool) -> None:
        (self.held if is_held else self.lines).append((name, verdict))


def by_service(data: bytes, seed: int = 0) -> list[Verdict]:
    """The images that get a line, in order; an upload that breaks ends with an error that has no name."""
    parser, found = TarParser(MAX_BYTES), Lines()
    try:
        for piece in cut(data, [random.Random(seed).randrange(len(data) + 1) for _ in range(20)]):
            for event in parser.feed(piece):
                found.take(event)
        parser.close()
    except MalformedRequest:
        return [*found.lines, *found.held, ("", "damaged")]
    return found.lines + found.held


def by_bulk(data: bytes, folder: Path, *, column: str | None = None, name: str = "x.tar") -> list[Verdict]:
    """The rows, those of samples without any image left out."""
    path = folder / name
    path.write_bytes(data)
    store, found = locate(str(path), {})
    files = (StoredFile(found, len(data), ""),)
    unit = WorkUnit(kind="webdataset", source=str(folder), root=str(folder), slot="x", files=files)
    rows: list[Verdict] = []
    for sample in read_tar(unit, store, Columns(expected=column), whole=False):
        try:
            rows.append((sample.id, sample.fetch()))
        except RowError as error:
            if "the sample has no image" not in str(error):
                rows.append((sample.id, "damaged" if error.code == "corrupt_shard" else error.code))
    return rows


def is_same_id(row: str, line: str) -> bool:
    """Compare ids, which differ by design.

    A line of the service names the member; a row of bulk names the sample by its key where it has a single image, as
    WebDataset readers do, and the member where it has several.
    """
    return row in (line, split_name(line)[0])


def assert_agreed(rows: list[Verdict], lines: list[Verdict]) -> None:
    assert [verdict for _, verdict in rows] == [verdict for _, verdict in lines]
    assert all(is_same_id(row, line) for (row, _), (line, _) in zip(rows, lines, strict=True))


@pytest.mark.parametrize("seed", range(150))
def test_each_image_has_one_line_and_one_row(seed: int, tmp_path: Path) -> None:
    made = Writer(seed).write(12)
    assert by_service(made.data, seed) == made.images
    assert_agreed(by_bulk(made.data, tmp_path), made.images)


def broken(made: Tar, seed: int) -> bytes:
    """The archive cut off, with noise behind it, or with a damaged block."""
    source = random.Random(seed)
    match seed % 3:
        case 0:
            return made.data[: source.randrange(len(made.data))]
        case 1:
            return made.data + source.randbytes(source.randrange(1, 2000))
        case _:
            start = source.randrange(len(made.data) // 512) * 512
            return made.data[:start] + source.randbytes(512) + made.data[start + 512 :]


@pytest.mark.parametrize("seed", range(100))
def test_a_broken_archive_is_judged_alike_up_to_the_damage(seed: int, tmp_path: Path) -> None:
    made = Writer(seed).write(12)
    lines = by_service(broken(made, seed), seed)
    assert_agreed(by_bulk(broken(made, seed), tmp_path), lines)
    if seed % 3 == 1:
        assert lines == [*made.images, ("", "damaged")]
    elif seed % 3 == 0:
        # A companion whose image is cut off is judged: it cannot be known that it is one.
        images = [line for line in lines[:-1] if line in made.images]
        assert images == made.images[: len(images)]
        assert len(lines) - 1 - len(images) <= 2


@pytest.mark.parametrize(
    ("ending", "packed"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda data: pa.compress(data, codec="zstd", asbytes=True)),
    ],
)
def test_a_compressed_archive_is_read_by_bulk_and_named_by_the_service(
    ending: str, packed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    made = Writer(5).write(20)
    data = packed(made.data)
    assert_agreed(by_bulk(data, tmp_path, name=f"x.tar{ending}"), made.images)
    assert by_bulk(data[:-9], tmp_path)[-1] == ("", "damaged")
    for shorter in (data, data[:100]):
        parser = TarParser(MAX_BYTES)
        with pytest.raises(MalformedRequest, match="it is compressed by"):
            assert not list(parser.feed(shorter))
            parser.close()


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "fetch its file with `git lfs pull`"),
        (b"<!DOCTYPE html><title>503</title>" + bytes(600), "such as an error page"),
        (lzma.compress(b"x" * 600, lzma.FORMAT_ALONE), "decompress it first"),
        (b"PK\x03\x04" + bytes(600), "make a tar of its files"),
        # curl -F file=@x.tar with the Content-Type of the archive.
        (b"------------------------d74496d6\r\nContent-Disposition: form-data" + bytes(600), "send the archive in it"),
    ],
    ids=["Git LFS", "HTML", "lzma", "zip", "form"],
)
def test_what_is_no_archive_is_named_with_its_cure(data: bytes, hint: str) -> None:
    parser = TarParser(MAX_BYTES)
    with pytest.raises(MalformedRequest, match=hint):
        assert not list(parser.feed(data))
        parser.close()


@given(st.lists(st.text("\\xud8f0/a\udcff\udc80\ud800", max_size=7), min_size=2, max_size=2, unique=True))
@example(["\udcff", "\\xff"])
@example(["\\\udcff", "\\\\xff"])
@example(["\udcc3\udca9", "é"])
def test_names_stay_distinct(names: list[str]) -> None:
    one, other = map(distinct_path, names)
    assert one != other
    assert printable(one) == one
    # A folder of names is the folder of their forms.
    assert distinct_path(f"{names[0]}/{names[1]}") == f"{one}/{other}"


def test_a_backslash_alone_stays() -> None:
    assert distinct_path("a\\b/\\x41.png") == "a\\b/\\x41.png"
