import contextlib
import gzip
import io
import subprocess
import tarfile
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tar_headers import BLOCK
from gate.header import IMAGE_ENDINGS
from service.api.batch.tar_framing import TarParser
from service.api.batch.upload_events import ImageEnd, ImageStart, UploadEvent
from service.errors import MalformedRequest
from tests.service.streams.uploads import Format, Member, archive, member, split

FORMATS: list[Format] = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LIMIT = 2**40
SHARD = archive([("a.png", b"first" * 200), ("a.cls", b"1"), ("b/c.JPG", b""), ("d.webp", b"third")])

# A file that begins like an image is one whatever its name, which `by_tarfile` does not know.
contents = st.binary(max_size=1500).filter(lambda data: data[:1] not in (b"\x89", b"\xff", b"R"))
stems = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=130)
# A dot inside of a stem may make it another sample's companion; a leading one makes its content decide.
endings = st.sampled_from([*IMAGE_ENDINGS, ".PNG", ".cls", ".json", ""])
names = st.builds("{}{}".format, stems.map(lambda stem: stem.replace(".", "-")), endings)


def parse(pieces: Iterable[bytes]) -> list[Member]:
    """The images in an archive that is fed in pieces; it has to be complete."""
    parser = TarParser(LIMIT)
    events = [event for piece in pieces for event in parser.feed(piece)]
    parser.close()
    return images_of(events)


def images_of(events: Iterable[UploadEvent]) -> list[Member]:
    found: list[Member] = []
    name, size, content = "", 0, b""
    for event in events:
        if isinstance(event, ImageStart):
            assert event.size is not None
            name, size, content = event.name, event.size, b""
        elif isinstance(event, ImageEnd):
            assert len(content) == size
            found.append((name, content))
        elif isinstance(event, bytes | memoryview):
            content += event
    return found


def by_tarfile(data: bytes) -> list[Member]:
    """Read the same archive with the standard library."""
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="replace") as tar:
        files = [info for info in tar if info.isreg() and info.name.lower().endswith(IMAGE_ENDINGS)]
        return [(info.name, file.read()) for info in files if (file := tar.extractfile(info))]


LONG = ["é" * 90 + ".png", "x" * 120 + ".webp"]  # In one piece past 100 bytes, which ustar has no room for.


@pytest.mark.parametrize(
    ("archive_format", "name"),
    [
        *product(FORMATS, ["a.png", "f/" * 60 + "b.png", "ü.jpeg"]),
        *product(FORMATS[1:], LONG),
    ],
)
def test_members_equal_those_of_tarfile_in_every_format(archive_format: Format, name: str) -> None:
    members = [(name, b"content"), ("z.png", b"")]
    data = archive(members, archive_format=archive_format)
    assert parse([data]) == by_tarfile(data) == members


@given(st.lists(st.tuples(names, contents), max_size=5), st.sampled_from(FORMATS[1:]), st.lists(st.integers(0)))
def test_archive_is_parsed_in_any_pieces(members: list[Member], archive_format: Format, cuts: list[int]) -> None:
    data = archive(members, archive_format=archive_format)
    assert parse(split(data, cuts)) == by_tarfile(data)


def test_archive_is_parsed_byte_by_byte() -> None:
    expected = [("a.png", b"first" * 200), ("b/c.JPG", b""), ("d.webp", b"third")]
    assert parse(bytes([byte]) for byte in SHARD) == expected


def test_an_image_is_handed_on_as_it_comes_with_its_size_first() -> None:
    parser = TarParser(LIMIT)
    assert list(parser.feed(SHARD[:612])) == [ImageStart("a.png", 1000), (b"first" * 20)]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_skipped_without_content(kind: bytes) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.linkname, info.size = kind, "b" * 120, 700
    link = info.tobuf(tarfile.GNU_FORMAT)
    assert parse([link + SHARD]) == parse([SHARD])


def test_headers_for_all_members_are_skipped() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers={"comment": "x" * 2000}) as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    assert parse([buffer.getvalue()]) == [("a.png", b"")]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, b"L", b"K"])
def test_an_extended_header_without_records_changes_nothing(kind: bytes) -> None:
    head = tarfile.TarInfo("GlobalHead.0.0")
    head.type = kind
    assert parse([head.tobuf(tarfile.USTAR_FORMAT) + SHARD]) == parse([SHARD])


@pytest.mark.parametrize("archive_format", ["gnu", "posix"])
def test_sparse_files_are_expanded(archive_format: str, tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        for hole in range(12):
            file.seek(hole * 200_000)
            file.write(b"island")
    (tmp_path / "b.png").write_bytes(b"whole")
    command = ["tar", "-c", "-S", f"--format={archive_format}", "-C", str(tmp_path), "a.png", "b.png"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(data) < 200_000
    members = [(name, (tmp_path / name).read_bytes()) for name in ("a.png", "b.png")]
    assert parse(split(data, range(0, len(data), 1000))) == members


@pytest.mark.parametrize("archive_format", FORMATS[1:])
def test_a_size_that_eight_octal_digits_cannot_hold(archive_format: Format) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = 2**34
    assert list(TarParser(LIMIT).feed(info.tobuf(archive_format))) == [ImageStart("a.png", 2**34)]


@pytest.mark.parametrize("padded", [b"%o   ", b"  %o  ", b"%o  \0x", b"\0%o", b" \0 %o "])
def test_numbers_have_blanks_and_nuls_on_both_sides(padded: bytes) -> None:
    block = bytearray(member("a.png", b"x" * 1000)[:BLOCK])
    block[124:136] = (padded % 1000).ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = (padded % sum(block)).ljust(8, b"\0")[:8]
    assert parse([bytes(block) + b"x" * 1000 + bytes(24 + 2 * BLOCK)]) == [("a.png", b"x" * 1000)]


@pytest.mark.parametrize("cut", [1, 511, 512, 600, 1500, 2048, 5000])
def test_an_archive_that_ends_too_early_is_malformed_after_what_was_whole(cut: int) -> None:
    parser = TarParser(LIMIT)
    whole = images_of(event for event in parser.feed(SHARD[:cut]))
    assert whole == parse([SHARD])[: len(whole)]
    end = SHARD.rindex(b"third") + 512 - SHARD.rindex(b"third") % 512
    if cut <= end:
        with pytest.raises(MalformedRequest, match="the archive ends"):
            parser.close()


def damaged_pax(records: bytes) -> bytes:
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, len(records)
    return head.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512) + SHARD


def negative_size() -> bytes:
    block = bytearray(member("a.png", b""))
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x00" * 148 + b"x" * 364, "before its first member"),
        (SHARD[:3072] + b"x" * 512, "in or after 'b/c.JPG'"),
        (gzip.compress(SHARD) + bytes(512), "gzip"),
        (b"070707" + b"0" * 512, "cpio"),
        (b"070701" + b"0" * 512, "cpio"),
        (b"07070.png" + b"x" * 503, "before its first member$"),
        (negative_size(), "not a number from 0"),
        (damaged_pax(b"x path=a\n"), "damaged"),
        (damaged_pax(b"99 path=a\n"), "damaged"),
        (damaged_pax(b"8 path=a\n"), "damaged"),
        (damaged_pax(b"5 path=abc\n"), "damaged"),
        (damaged_pax(b"11 size=-5\n"), "size '-5'"),
        (damaged_pax(b"11 size=\xc2\xb2\n"), "size"),
        (damaged_pax(b"x" * 2_000_000), "2,000,000 bytes"),
        (damaged_pax(b"10 path=a\n")[:1024] + bytes(1024), "no tar header"),
        (archive([]) + b"more", "not a tar archive follows"),
        (archive([]) + b"more" * 512, "not a tar archive follows"),
    ],
)
def test_other_data_is_malformed(data: bytes, named: str) -> None:
    with pytest.raises(MalformedRequest, match=named):
        parse([data])


@given(st.integers(0, len(SHARD) - 1), st.binary(min_size=1, max_size=40), st.lists(st.integers(0)))
def test_damaged_input_raises_malformed_request_only(place: int, damage: bytes, cuts: list[int]) -> None:
    data = SHARD[:place] + damage + SHARD[place + len(damage) :]
    with contextlib.suppress(MalformedRequest):
        parse(split(data, cuts))
