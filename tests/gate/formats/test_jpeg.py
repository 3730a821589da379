"""JPEGs that other software writes: everything Pillow reads whole is read, and damage is refused."""

import io
import re
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from gate import area_average, read_pixels
from gate.errors import CorruptImage, ImageError, ImageTooLarge, UnsupportedImage
from gate.formats.jpeg.header import coded_intervals, read_jpeg_header, read_scans
from tests.support.images import Pixels, encode, portrait
from tests.support.jpegs import (
    ADOBE_PLAIN,
    ADOBE_YCCK,
    JFIF,
    Factors,
    Segment,
    join,
    planes_of,
    sampled_jpeg,
    segment,
    segments,
)

SIZE = 32
SEED_OF_A_ZERO = 6
FACE = portrait(96)
PLANES = planes_of(FACE)
PLAIN = encode(FACE, "JPEG", quality=90)
PROGRESSIVE = encode(FACE, "JPEG", quality=90, progressive=True)
RESTARTS = sampled_jpeg(PLANES, ((2, 2), (1, 1), (1, 1)), restart=6)
ODD: list[Factors] = [
    ((4, 2), (1, 1), (1, 1)),
    ((4, 1), (1, 1), (2, 1)),
    ((3, 1), (1, 1), (1, 1)),
    ((1, 3), (1, 1), (1, 1)),
    ((2, 4), (1, 1), (1, 1)),
    ((2, 2), (1, 2), (2, 1)),
    ((1, 1), (2, 2), (2, 2)),
]
NAMED: list[Factors] = [((h, v), (1, 1), (1, 1)) for h, v in ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4))]


def by_pillow(data: bytes) -> Pixels:
    return area_average(np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB")), SIZE)


def assert_read_as_by_pillow(data: bytes) -> None:
    assert np.array_equal(read_pixels(data, SIZE), by_pillow(data))


def with_segments(data: bytes, *extra: Segment) -> bytes:
    """Put segments behind the first one."""
    parts, coded = segments(data)
    return join([parts[0], *extra, *parts[1:]], coded)


def scan_by_scan() -> bytes:
    """A sequential JPEG with a scan for each component."""
    parts, _ = segments(sampled_jpeg(PLANES, NAMED[0]))
    scans = b""
    for number, plane in enumerate(PLANES, 1):
        _, coded = segments(sampled_jpeg([plane], ((1, 1),)))
        scans += segment(0xDA, bytes([1, number, 0]) + b"\x00\x3f\x00") + coded[:-2]
    return join(parts[:-1], scans + b"\xff\xd9")


def icc(number: int, count: int, body: bytes = b"x" * 128) -> Segment:
    return 0xE2, b"ICC_PROFILE\x00" + bytes([number, count]) + body


@pytest.mark.parametrize("restart", [0, 1, 3])
@pytest.mark.parametrize("factors", NAMED + ODD, ids=str)
def test_any_sampling_factors_are_read(factors: Factors, restart: int) -> None:
    assert_read_as_by_pillow(sampled_jpeg(PLANES, factors, restart=restart))


def test_a_portrait_of_the_finest_quantization_is_no_damage() -> None:
    """The last bytes of an interval then hold high frequencies alone."""
    assert_read_as_by_pillow(sampled_jpeg(planes_of(portrait(96)), ((3, 1), (1, 1), (1, 1)), restart=1, quantizer=1))


@pytest.mark.parametrize("factors", [((1, 1),) * 4, ((2, 2), (1, 1), (1, 1), (2, 2)), ((2, 1), (1, 1), (1, 1), (1, 1))])
@pytest.mark.parametrize("extra", [(), ((0xEE, ADOBE_PLAIN),), ((0xEE, ADOBE_YCCK),)], ids=["bare", "CMYK", "YCCK"])
def test_four_components_are_read(factors: Factors, extra: tuple[Segment, ...]) -> None:
    assert_read_as_by_pillow(sampled_jpeg(planes_of(FACE, "CMYK"), factors, extra=extra))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sampled_jpeg(planes_of(FACE, "RGB"), ((1, 1),) * 3, extra=(), ids=b"RGB"), id="RGB by its ids"),
        pytest.param(sampled_jpeg(planes_of(FACE, "RGB"), ((1, 1),) * 3, extra=((0xEE, ADOBE_PLAIN),)), id="Adobe RGB"),
        pytest.param(sampled_jpeg(PLANES[:1], ((1, 1),)), id="grey"),
        pytest.param(sampled_jpeg(PLANES[:1], ((2, 2),), restart=2), id="grey with factors"),
        pytest.param(encode(FACE, "JPEG", progressive=True, subsampling="4:4:4"), id="progressive"),
        pytest.param(encode(Image.fromarray(FACE).convert("CMYK"), "JPEG", progressive=True), id="progressive CMYK"),
    ],
)
def test_other_colours_and_codings_are_read(data: bytes) -> None:
    assert_read_as_by_pillow(data)


@pytest.mark.parametrize("transform", [0, 1, 2, 3, 255])
@pytest.mark.parametrize("extra", [(), ((0xE0, JFIF),)], ids=["bare", "JFIF"])
@pytest.mark.parametrize("mode", ["YCbCr", "CMYK"])
def test_an_unknown_colour_transform_is_the_usual_one(mode: str, extra: tuple[Segment, ...], transform: int) -> None:
    planes = planes_of(FACE, mode)
    adobe = (0xEE, ADOBE_PLAIN[:-1] + bytes([transform]))
    assert_read_as_by_pillow(sampled_jpeg(planes, ((1, 1),) * len(planes), extra=(*extra, adobe)))


@pytest.mark.parametrize("version", [b"\x00\x00", b"\x00\x02", b"\x01\x63", b"\x02\x01", b"\x03\x00"], ids=bytes.hex)
def test_any_version_of_jfif_is_read(version: bytes) -> None:
    segment = (0xE0, JFIF[:5] + version + JFIF[7:])
    data = sampled_jpeg(PLANES, NAMED[0], extra=[segment])
    assert np.array_equal(read_pixels(data, SIZE), read_pixels(sampled_jpeg(PLANES, NAMED[0]), SIZE))


@pytest.mark.parametrize("parameters", ["000000", "003f01", "013f00", "004000", "ffffff"])
@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(PLAIN, id="baseline"),
        pytest.param(sampled_jpeg(PLANES, NAMED[0], restart=3), id="restart markers"),
        pytest.param(sampled_jpeg(PLANES, ODD[0]), id="odd sampling"),
        pytest.param(scan_by_scan(), id="a scan for each component"),
    ],
)
def test_parameters_that_a_sequential_scan_does_not_use_are_ignored(sound: bytes, parameters: str) -> None:
    """Cameras of Samsung phones write zeros."""
    scans = read_scans(sound, read_jpeg_header(sound))
    odd = bytearray(sound)
    for scan in reversed(scans):
        odd[scan.start - 3 : scan.start] = bytes.fromhex(parameters)
        assert np.array_equal(read_pixels(bytes(odd), SIZE), read_pixels(sound, SIZE))


def test_parameters_of_progressive_scans_are_not_ignored() -> None:
    at = PROGRESSIVE.rindex(b"\xff\xda") + 7
    with pytest.raises(CorruptImage):
        read_pixels(PROGRESSIVE[:at] + b"\x00\x3f\x00" + PROGRESSIVE[at + 3 :], SIZE)


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param([icc(0, 1)], id="number 0 of 1"),
        pytest.param([icc(1, 2)], id="one is missing"),
        pytest.param([icc(1, 1)] * 2, id="twice"),
        pytest.param([icc(1, 1, b"")], id="empty"),
        pytest.param([icc(3, 2), icc(200, 2)], id="numbers too large"),
        pytest.param([icc(2, 2), icc(1, 2)], id="out of order"),
        pytest.param([icc(1, 255), icc(1, 3)], id="counts differ"),
        pytest.param([(0xE2, b"ICC_PROFILE\x00")], id="without numbers"),
        pytest.param([(0xE2, b"")], id="APP2 of nothing"),
        pytest.param([(0xE2, b"MPF\x00" + b"\xff" * 90)], id="broken MPF"),
    ],
)
def test_a_broken_icc_profile_is_ignored(profile: list[Segment]) -> None:
    assert np.array_equal(read_pixels(with_segments(PLAIN, *profile), SIZE), read_pixels(PLAIN, SIZE))


SCANS = b"\xff\xda" * 150


@pytest.mark.parametrize("sound", [PLAIN, PROGRESSIVE], ids=["baseline", "progressive"])
@pytest.mark.parametrize(
    "add",
    [
        pytest.param(lambda data: with_segments(data, (0xE1, b"Exif\x00\x00" + SCANS)), id="in EXIF"),
        pytest.param(lambda data: with_segments(data, (0xFE, SCANS)), id="in a comment"),
        pytest.param(lambda data: with_segments(data, (0xED, encode(FACE, "JPEG") * 5)), id="in a thumbnail"),
        pytest.param(lambda data: data + SCANS, id="after the end"),
        pytest.param(lambda data: data + PROGRESSIVE * 20, id="in pictures after the end"),
    ],
)
def test_scans_of_something_else_do_not_count(add: Callable[[bytes], bytes], sound: bytes) -> None:
    assert np.array_equal(read_pixels(add(sound), SIZE), read_pixels(sound, SIZE))


@pytest.mark.parametrize(
    "pad",
    [
        pytest.param(lambda data: data[:20] + b"\x00" + data[20:], id="a zero after APP0"),
        pytest.param(lambda data: data[:20] + b"\x00\xff\x00\x12" * 20 + data[20:], id="bytes after APP0"),
        pytest.param(lambda data: data[:20] + b"\xff" * 600 + data[20:], id="fill bytes"),
        pytest.param(lambda data: data + bytes(4096), id="zeros after the end"),
        pytest.param(lambda data: data + b"\x00\x00\x00\x18ftypmp42" + bytes(999), id="a motion photo"),
        pytest.param(lambda data: with_segments(data, (0xE0, b"JFXX\x00\x10" + PLAIN)), id="a JFXX thumbnail"),
        pytest.param(lambda data: with_segments(data, (0xE0, JFIF), (0xE0, JFIF[:5])), id="JFIF twice, once cut"),
    ],
)
def test_bytes_between_segments_are_ignored(pad: Callable[[bytes], bytes]) -> None:
    assert np.array_equal(read_pixels(pad(PLAIN), SIZE), read_pixels(PLAIN, SIZE))


@pytest.mark.parametrize("factors", [((2, 2), (1, 1), (1, 1)), ((1, 1),) * 3], ids=str)
@pytest.mark.parametrize("zeros", [1, 2, 6, 40])
@pytest.mark.parametrize("restart", [1, 3, 6])
def test_zeros_before_restart_markers_are_ignored(factors: Factors, zeros: int, restart: int) -> None:
    sound = sampled_jpeg(PLANES, factors, restart=restart)
    padded = sound
    for index in range(8):
        padded = padded.replace(bytes([0xFF, 0xD0 + index]), bytes(zeros) + bytes([0xFF, 0xD0 + index]))
    assert np.array_equal(read_pixels(padded, SIZE), read_pixels(sound, SIZE))


@pytest.mark.parametrize("factors", ODD + NAMED[:1], ids=str)
@pytest.mark.parametrize("restart", [0, 3])
@pytest.mark.parametrize("count", [1, 2, 600])
def test_fill_bytes_before_markers_are_ignored(factors: Factors, restart: int, count: int) -> None:
    sound = sampled_jpeg(PLANES, factors, restart=restart)
    head, coded = sound[: sound.index(b"\xff\xda")], sound[sound.index(b"\xff\xda") :]
    filled = head + re.sub(rb"\xff[\xd0-\xd9]", lambda marker: b"\xff" * count + marker[0], coded)
    assert np.array_equal(read_pixels(filled, SIZE), read_pixels(sound, SIZE))


@pytest.mark.parametrize("factors", [((2, 2), (1, 1), (1, 1)), ((1, 1),)], ids=str)
@pytest.mark.parametrize("zeros", [0, 3])
@pytest.mark.parametrize("restart", [1, 3])
def test_intervals_behind_the_last_pixel_are_ignored(factors: Factors, zeros: int, restart: int) -> None:
    """As a scanner writes them, which does not count its lines."""
    sound = sampled_jpeg(PLANES[: len(factors)], factors, restart=restart)
    count = len(re.findall(rb"\xff[\xd0-\xd7]", sound))
    more = b"".join(bytes([0xFF, 0xD0 + (count + index) % 8]) + bytes(range(1, 200)) for index in range(9))
    assert np.array_equal(read_pixels(sound[:-2] + bytes(zeros) + more + sound[-2:], SIZE), read_pixels(sound, SIZE))


def arithmetic() -> bytes:
    """An arithmetic-coded JPEG of grey, whose bits are all zero."""
    parts, _ = segments(sampled_jpeg(PLANES[:1], ((1, 1),)))
    head = [(0xC9 if marker == 0xC0 else marker, body) for marker, body in parts if marker != 0xC4]
    return join(head, bytes(300) + b"\xff\xd9")


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(sampled_jpeg(PLANES, ((2, 2), (1, 1), (1, 1))), id="without restarts"),
        pytest.param(sampled_jpeg(PLANES, ((2, 2), (1, 1), (1, 1)), restart=3), id="with restarts"),
        pytest.param(arithmetic(), id="arithmetic"),
    ],
)
def test_intervals_behind_the_last_pixel_hide_no_damage(sound: bytes) -> None:
    read_pixels(sound, SIZE)
    coded = sound.index(b"\xff\xda")
    for at in range(coded + 20, len(sound), 97):
        for marker in range(0xD0, 0xD8):
            with pytest.raises(CorruptImage):
                read_pixels(sound[:at] + bytes([0xFF, marker]) + sound[at:], SIZE)


def test_coded_data_that_ends_with_a_zero_is_not_padding() -> None:
    sound = sampled_jpeg(planes_of(portrait(64, seed=SEED_OF_A_ZERO))[:1], ((1, 1),), restart=1)
    assert re.search(rb"[^\xff]\x00\xff[\xd0-\xd7]", sound), "no interval ends with a zero"
    for marker in (found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", sound)):
        padded = sound[:marker] + bytes(9) + sound[marker:]
        assert np.array_equal(read_pixels(padded, SIZE), read_pixels(sound, SIZE))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda frame: b"\x0c" + frame[1:], "12 bits", id="12 bits"),
        pytest.param(lambda frame: frame[:5] + b"\x02" + frame[6:], "2 channels", id="two channels"),
        pytest.param(lambda frame: frame[:1] + b"\x00\x00" + frame[3:], "DNL", id="no height"),
    ],
)
def test_a_kind_that_no_decoder_reads_is_named(change: Callable[[bytes], bytes], named: str) -> None:
    parts, coded = segments(PLAIN)
    changed = [(marker, change(body) if marker == 0xC0 else body) for marker, body in parts]
    with pytest.raises(UnsupportedImage, match=named):
        read_pixels(join(changed, coded), SIZE)


def test_sampling_factors_that_do_not_divide_each_other_are_named() -> None:
    with pytest.raises(UnsupportedImage, match="sampling factors"):
        read_pixels(sampled_jpeg(PLANES, ((3, 1), (2, 1), (1, 1))), SIZE)


@pytest.mark.parametrize("edge", [33, 40, 47, 65])
def test_units_that_reach_beyond_the_picture_are_read(edge: int) -> None:
    for factors in ODD:
        for seed in range(3):
            assert_read_as_by_pillow(sampled_jpeg(planes_of(portrait(edge, seed=seed)), factors, restart=seed))


@pytest.mark.parametrize("marker", [0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7])
def test_hierarchical_and_other_rare_jpegs_are_named(marker: int) -> None:
    parts, coded = segments(PLAIN)
    with pytest.raises(UnsupportedImage, match="rare kind"):
        read_pixels(join([(marker if kind == 0xC0 else kind, body) for kind, body in parts], coded), SIZE)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) * 2 // 3],
    "cut, with an end put on": lambda data: data[: len(data) * 2 // 3] + b"\xff\xd9",
    "without its end": lambda data: data[:-2],
    "bytes at its end": lambda data: data[:-2] + b"\x5a" * 40 + data[-2:],
    "a restart marker inside": lambda data: data[: len(data) // 2] + b"\xff\xd0" + data[len(data) // 2 :],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("factors", ODD + NAMED[:1], ids=str)
@pytest.mark.parametrize("restart", [0, 6])
def test_damage_is_refused_for_every_sampling(factors: Factors, damage: str, restart: int) -> None:
    with pytest.raises(CorruptImage):
        read_pixels(DAMAGE[damage](sampled_jpeg(PLANES, factors, restart=restart)), SIZE)


@pytest.mark.parametrize("factors", [ODD[0], NAMED[3]], ids=str)
def test_missing_and_swapped_restart_markers_are_refused(factors: Factors) -> None:
    sound = sampled_jpeg(PLANES, factors, restart=2)
    at = sound.index(b"\xff\xd1", sound.index(b"\xff\xda"))
    for damaged in (sound[:at] + sound[at + 2 :], sound[:at] + b"\xff\xd5" + sound[at + 2 :]):
        with pytest.raises(CorruptImage):
            read_pixels(damaged, SIZE)


def test_a_damaged_cmyk_jpeg_is_refused() -> None:
    data = encode(Image.fromarray(FACE).convert("CMYK"), "JPEG")
    with pytest.raises(CorruptImage):
        read_pixels(DAMAGE["cut, with an end put on"](data), SIZE)


def test_a_component_without_a_scan_is_refused() -> None:
    parts, coded = segments(sampled_jpeg(PLANES, NAMED[0]))
    first_only = (0xDA, b"\x01\x01\x00\x00\x3f\x00")
    with pytest.raises(CorruptImage, match="incomplete"):
        read_pixels(join([*parts[:-1], first_only], coded), SIZE)


@pytest.mark.parametrize("cut", range(2, len(PLAIN) // 3, 11))
def test_a_header_cut_anywhere_is_an_image_error(cut: int) -> None:
    with pytest.raises(ImageError):
        read_pixels(PLAIN[:cut], SIZE)


MANY = 16_000_000
HEAD = PLAIN[: PLAIN.index(b"\xff\xda") + 14]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xd8" + b"\xff" * MANY, id="fill bytes"),
        pytest.param(b"\xff\xd8\xff" + b"\x00" * MANY, id="zeros"),
        pytest.param(b"\xff\xd8" + b"\xff\x00" * (MANY // 2), id="stuffed bytes"),
        pytest.param(b"\xff\xd8" + b"\xff\xd0" * (MANY // 2), id="restart markers"),
        pytest.param(b"\xff\xd8" + b"\xff\xe1\x00\x02" * (MANY // 4), id="empty segments"),
        pytest.param(b"\xff\xd8" + b"\xff\xe1\x00\x00" * (MANY // 4), id="segments without a length"),
        pytest.param(HEAD + b"\xff" * MANY, id="fill bytes in a scan"),
        pytest.param(HEAD + b"\xff\x00" * (MANY // 2), id="stuffed bytes in a scan"),
        pytest.param(HEAD + b"\xff\xd0" * (MANY // 2), id="restart markers in a scan"),
        pytest.param(HEAD + b"\x00" * MANY + b"\xff\xd9", id="zeros in a scan"),
        pytest.param(HEAD + b"\xff\xda" * (MANY // 2), id="starts of scan"),
        pytest.param(HEAD + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * (MANY // 10), id="empty scans"),
        pytest.param(HEAD + b"\xff\xfe\x00\x02" * (MANY // 4) + b"\xff\xda", id="comments after a scan"),
    ],
)
def test_no_jpeg_makes_the_header_search_slow(data: bytes) -> None:
    start = time.process_time()
    with pytest.raises(ImageError):
        read_pixels(data, SIZE)
    assert time.process_time() - start < 3  # 40 kB of fill bytes took 6 to 16 seconds; 16 MB would have taken weeks.


def test_tables_before_padded_intervals_are_not_read_again_for_each() -> None:
    """1,000 damaged intervals after 4 MB of Huffman tables took half a minute."""
    parts, coded = segments(encode(portrait(1024), "JPEG", quality=30, restart_marker_blocks=4))
    tables = b"".join(body for marker, body in parts if marker == 0xC4)
    bloat = [(0xC4, tables * (65_000 // len(tables)))] * 62
    intervals = re.split(rb"(\xff[\xd0-\xd7])", coded[:-2])
    padded = (each if each[:1] == b"\xff" else each[: len(each) // 2] + bytes(3) for each in intervals)
    data = join([*parts[:-1], *bloat, parts[-1]], b"".join(padded) + b"\xff\xd9")
    start = time.process_time()
    with pytest.raises(CorruptImage):
        read_pixels(data, SIZE)
    assert time.process_time() - start < 2


def test_the_scans_of_a_large_picture_are_found_at_once() -> None:
    noise = np.random.default_rng(0).integers(0, 255, MANY, np.uint8).tobytes()
    head = read_jpeg_header(HEAD)
    start = time.process_time()
    assert len(read_scans(HEAD + noise + PLAIN[len(HEAD) - 14 :], head)) == 2
    assert time.process_time() - start < 0.5


def test_each_scan_has_the_restart_interval_in_front_of_it() -> None:
    data = encode(portrait(64), "JPEG", progressive=True, restart_marker_rows=1, subsampling="4:2:0")
    head = read_jpeg_header(data)
    scans = read_scans(data, head)
    assert {scan.restart_interval for scan in scans} == {4, 8}
    for scan in scans:
        intervals = list(coded_intervals(data, scan, head.frame))
        assert len(intervals) == -(-head.frame.units(scan.components) // scan.restart_interval)


def test_many_scans_are_allowed_for_small_pictures_and_not_for_large_ones() -> None:
    parts, coded = segments(PROGRESSIVE)
    frame = next(body for marker, body in parts if marker == 0xC2)
    large = frame[:1] + struct.pack(">HH", 4096, 4096) + frame[5:]
    scan = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00")
    for body, is_refused in ((frame, False), (large, True)):
        data = join([(marker, body if marker == 0xC2 else old) for marker, old in parts], coded[:-2] + scan * 80)
        if is_refused:
            with pytest.raises(CorruptImage, match="scans at this size"):
                read_pixels(data + b"\xff\xd9", SIZE)
        else:
            assert len(read_scans(data, read_jpeg_header(data))) > 80


@pytest.mark.parametrize(
    ("scans", "size", "error"),
    [(10, 2_000_000, None), (30, 2_000_000, "scans at this size"), (10, 6_000_000, r"arithmetic.*Huffman")],
)
def test_arithmetic_coding_is_bounded_more_tightly(scans: int, size: int, error: str | None) -> None:
    """45 scans of 4096 x 4096 pixels in 15 MB took three seconds."""
    parts, _ = segments(PROGRESSIVE)
    frame = next(body for marker, body in parts if marker == 0xC2)
    frame = frame[:1] + struct.pack(">HH", 4096, 4096) + frame[5:]
    head = join([(0xCA, frame) if marker == 0xC2 else (marker, body) for marker, body in parts], b"")
    each = bytes(size // scans) + segment(0xDA, b"\x01\x01\x00\x01\x3f\x00")
    data = head + each * (scans - 1) + bytes(size // scans) + b"\xff\xd9"
    if error is None:
        assert len(read_scans(data, read_jpeg_header(data))) == scans
        return
    with pytest.raises(ImageError, match=error):
        read_pixels(data, SIZE)


@pytest.mark.parametrize("edge", [17_000, 65_535])
def test_a_jpeg_of_too_many_pixels_is_too_large(edge: int) -> None:
    """Its blocks alone exceed the limit of all scans, which named the scans as damage."""
    parts, coded = segments(PLAIN)
    size = struct.pack(">HH", edge, edge)
    data = join([(marker, body[:1] + size + body[5:] if marker == 0xC0 else body) for marker, body in parts], coded)
    with pytest.raises(ImageTooLarge, match=f"{edge} x {edge}"):
        read_pixels(data, SIZE)


def test_a_file_without_metadata_is_not_copied() -> None:
    assert read_jpeg_header(PLAIN).without_metadata(PLAIN) is PLAIN
    noted = with_segments(PLAIN, (0xFE, b"hello"))
    assert read_jpeg_header(noted).without_metadata(noted) == PLAIN
