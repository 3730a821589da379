"""Resource bounds of archives: memory stays flat, and an error names the exceeded bound."""

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.tar import MAX_NAME_BYTES, MAX_ZERO_BYTES, End, Member, TarReader
from common.tar_extended import MAX_EXTENDED_BYTES, MAX_EXTENDED_HEADERS
from common.tar_headers import TarError
from common.webdataset import ShardReader
from tests.bulk.helpers import samples_of
from tests.common.tars import PNG, Format, extended, header, member, old_sparse, pax_sparse, record, signed

LIMIT = 2**24
MANY = b"".join(record(f"k{number}", "v" * 50) for number in range(5_000))


def read(data: bytes, limit: int = LIMIT) -> list[tuple[str, int]]:
    """Names of members and bytes of their content."""
    reader = TarReader(limit)
    found: list[tuple[str, int]] = []
    for event in reader.feed(data):
        if isinstance(event, Member):
            found.append((event.name, 0))
        elif not isinstance(event, End):
            found[-1] = (found[-1][0], found[-1][1] + len(event))
    reader.close()
    return found


def chain(kind: bytes, content: bytes) -> Iterator[bytes]:
    while True:
        yield extended(content, kind)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE, b"L", b"K"])
@pytest.mark.parametrize("content", [MANY, record("comment", "x"), record("comment", "x" * 2**19)])
def test_headers_before_a_member_are_bounded_in_number_and_bytes(kind: bytes, content: bytes) -> None:
    reader = ShardReader(LIMIT)
    sent = 0
    tracemalloc.start()
    try:
        with pytest.raises(TarError, match=r"extended headers"):
            for piece in chain(kind, content):
                sent += len(piece)
                assert not [*reader.feed(piece)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent <= MAX_EXTENDED_BYTES + MAX_EXTENDED_HEADERS * 2048 + len(content)
    assert peak < 8 * MAX_EXTENDED_BYTES


def test_an_oversized_header_is_refused_before_its_content() -> None:
    with pytest.raises(TarError, match=r"8,589,934,591 bytes.*at most 1,048,576 are read"):
        read(header("x", kind=b"x", size=2**33 - 1))


def test_memory_is_flat_over_empty_members() -> None:
    block = b"".join(header(f"{number}.txt") for number in range(1_000))
    reader = ShardReader(LIMIT)
    tracemalloc.start()
    try:
        for _ in range(10):
            assert sum(1 for _ in reader.feed(block)) == 2_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000


def test_a_name_has_the_length_limit_of_paths() -> None:
    name = "f/" * 2_000 + "a.png"
    assert read(member(name, b"x", 2) + bytes(1024)) == [(name, 1)]
    long = "a" * MAX_NAME_BYTES + ".png"
    forms: tuple[Format, ...] = (1, 2)
    for form in forms:
        with pytest.raises(TarError, match=r"name of a member has 4,100 bytes.*at most 4,096"):
            read(member(long, b"x", form))


@pytest.mark.parametrize("size", ["-5", "x", "1e9", "9" * 19, "1" * 40, "²"])
def test_a_size_in_a_record_is_a_number_of_a_possible_file(size: str) -> None:
    with pytest.raises(TarError, match=r"a member of size"):
        read(extended(record("size", size)) + member("a.png", b"x"))


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,
        b"\x80" + b"\xff" * 11,
        b"\x80" + (2**63).to_bytes(11, "big"),
        b"\x81" + bytes(11),
        b"-7\0",
        b"0x10\0",
        b"89\0",
    ],
)
def test_a_size_in_a_header_is_a_number_of_a_possible_file(size: bytes) -> None:
    block = bytearray(member("a.png", b""))
    block[124:136] = size.ljust(12, b"\0")
    with pytest.raises(TarError, match=r"not a number from 0 to 2\^63 - 1"):
        read(signed(block))


def test_a_large_size_in_base_256_is_read() -> None:
    block = bytearray(member("a.png", b""))
    block[124:136] = b"\x80" + (700).to_bytes(11, "big")
    assert read(signed(block) + bytes(1024) + bytes(1024)) == [("a.png", 700)]


def test_a_hole_larger_than_the_limit_is_not_filled() -> None:
    vast = pax_sparse("a.png", [(0, b"x")], 2**60)
    assert read(vast + member("b.png", b"yy") + bytes(1024)) == [("a.png", 0), ("b.png", 2)]


@pytest.mark.parametrize(
    "data",
    [
        pax_sparse("a.png", [(5, b"xx"), (3, b"yy")], 100),
        pax_sparse("a.png", [(5, b"xx")], 6, version="0.1"),
        old_sparse("a.png", [(5, b"xx")], 6),
        extended(record("GNU.sparse.map", "0,1") + record("GNU.sparse.size", 9)) + member("a.png", b"xx"),
        extended(record("GNU.sparse.map", "0,1,2") + record("GNU.sparse.size", 9)) + member("a.png", b"x"),
        extended(record("GNU.sparse.map", "0,-1") + record("GNU.sparse.size", 9)) + member("a.png", b"x"),
        extended(record("GNU.sparse.size", "-9")) + member("a.png", b"x"),
        extended(record("GNU.sparse.major", 1) + record("GNU.sparse.realsize", 9)) + member("a.png", b"no number"),
        extended(record("GNU.sparse.major", 1) + record("GNU.sparse.realsize", 9)) + member("a.png", b"99999999\n"),
        extended(record("GNU.sparse.map", ",".join(["0,0"] * 70_000))) + member("a.png", b""),
    ],
)
def test_a_map_that_contradicts_itself_is_damage(data: bytes) -> None:
    with pytest.raises(TarError, match=r"sparse"):
        read(data)


@pytest.mark.parametrize("blocks", [4096, 32768])
@pytest.mark.parametrize("size", [1, 2**20, 2**21 - 1024, 2**21 - 1023, 3 * 2**20])
def test_zeros_that_fill_a_large_record_end_an_archive(blocks: int, size: int) -> None:
    tar = member("a.png", bytes(size)) + bytes(1024)
    tar += bytes(-len(tar) % (512 * blocks))
    assert read(tar * 2) == [("a.png", size)] * 2
    for cut in (512, 2**18):
        if len(tar) - size - cut > MAX_ZERO_BYTES + 2048:
            with pytest.raises(TarError, match=r"zeros lie in or after 'a.png': the archive is incomplete"):
                read(tar[:-cut])


def test_a_global_header_may_not_rename_every_member() -> None:
    with pytest.raises(TarError, match=r"global header of the archive sets 'path'"):
        read(extended(record("path", "x.png"), tarfile.XGLTYPE) + member("a.png", b"x"))


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"PK\x03\x04", "a zip archive"),
        (b"\x04\x22\x4d\x18", "compressed by lz4"),
        (PNG, "a PNG image"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
    ],
)
def test_another_format_instead_of_a_tar_is_named(head: bytes, text: str) -> None:
    for size in (30, 5_000):
        with pytest.raises(TarError, match=text):
            read(head + b"x" * size)


def test_the_largest_size_of_a_file_is_read() -> None:
    block = bytearray(member("a.png", b""))
    block[124:136] = b"\x80" + (2**63 - 1).to_bytes(11, "big")
    with pytest.raises(TarError, match=r"the archive ends in or after 'a.png'"):
        read(signed(block))


def test_sums_of_signed_bytes_are_taken_and_no_others() -> None:
    block = bytearray(member("\u00e4\u00f6.png", b""))
    unsigned = sum(block[:148]) + 8 * 32 + sum(block[156:])
    above = sum(byte > 127 for byte in block)
    for wrong in (0, 1):
        block[148:156] = b"%06o\0 " % (unsigned - 256 * above + wrong)
        if wrong:
            with pytest.raises(TarError, match="no tar header"):
                read(bytes(block))
        else:
            assert read(bytes(block) + bytes(1024)) == [("\u00e4\u00f6.png", 0)]


@pytest.mark.parametrize("records", [b"99 path=b.png\n", b"13 path=b.png", b"0 path=b.png\n", b"x path=b.png\n"])
def test_a_record_that_does_not_end_where_it_says_is_damage(records: bytes) -> None:
    with pytest.raises(TarError, match="extended header of the archive is damaged"):
        read(extended(records) + member("a.png", b"x"))


def test_old_gnu_dumps_have_times_in_the_place_of_a_name_prefix() -> None:
    block = bytearray(member("a.png", b""))
    block[345:357] = b"14732145671\0"
    assert read(signed(block) + bytes(1024)) == [("a.png", 0)]


def rows(data: bytes, folder: Path, *, whole: bool = False) -> list[tuple[str, str]]:
    found = []
    for sample in samples_of(folder, data, max_members=10, whole=whole):
        try:
            found.append((sample.id, f"{len(sample.fetch())} bytes"))
        except Exception as error:
            found.append((sample.id, str(error)))
    return found


def test_an_endless_sample_is_judged_in_pieces(tmp_path: Path) -> None:
    names = [f"frame.{number:04d}.png" for number in range(25)]
    data = b"".join(member(name, PNG) for name in names) + bytes(1024)
    assert rows(data, tmp_path) == [(name, "8 bytes") for name in names]
    kept = rows(data, tmp_path, whole=True)
    assert [name for name, _ in kept] == names
    assert all("too much for --keep" in text for _, text in kept)


def test_a_long_sample_without_an_image_is_one_row(tmp_path: Path) -> None:
    data = b"".join(member(f"a.{number}.txt", b"") for number in range(30)) + bytes(1024)
    ((name, text),) = rows(data, tmp_path)
    assert name == "a"
    assert text.startswith("the sample has no image")


def test_the_standard_library_reads_the_same_sparse_files() -> None:
    islands = [(0, PNG), (3_000, b"x" * 600), (9_000, b"y")]
    for version in ("0.0", "0.1", "1.0"):
        data = pax_sparse("a.png", islands, 20_000, version=version) + bytes(1024)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            file = tar.extractfile("a.png")
            assert file is not None
            content = file.read()
        reader = TarReader(LIMIT)
        pieces = [event for event in reader.feed(data) if isinstance(event, memoryview)]
        assert b"".join(pieces) == content
