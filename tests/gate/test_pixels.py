import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from gate import ImageError, area_average, read_pixels
from gate.errors import CorruptImage, EmptyImage, ImageTooLarge, ImageTooSmall, NotSquare, UnsupportedImage
from gate.header import read_header
from tests.support.images import encode, exact_average, flat, interlaced_png, png_chunk, png_of, portrait
from tests.support.pngs import any_png

SIZE = 64
FACE = portrait(512)
AVERAGE = exact_average(FACE, SIZE)
GREY = Image.fromarray(FACE).convert("L")


def largest_difference(data: bytes, expected: np.ndarray) -> float:
    found = read_pixels(data, SIZE)
    assert found.shape == (SIZE, SIZE, 3)
    assert found.dtype == np.uint8
    return float(np.abs(found - expected).max())


def with_alpha() -> Image.Image:
    image = Image.fromarray(FACE).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))))
    return image


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(FACE), id="png"),
        pytest.param(interlaced_png(FACE), id="interlaced png"),
        pytest.param(encode(FACE, "PNG", compress_level=0), id="stored png"),
        pytest.param(encode(Image.fromarray(FACE).convert("RGBA")), id="opaque rgba png"),
        pytest.param(encode(FACE, "WEBP", lossless=True), id="lossless webp"),
    ],
)
def test_every_lossless_path_gives_the_area_average(data: bytes) -> None:
    assert largest_difference(data, AVERAGE) <= 1


def test_a_16_bit_png_agrees_with_its_8_bit_twin() -> None:
    deep = any_png(FACE.astype(int) * 257, depth=16)
    assert largest_difference(deep, AVERAGE) <= 2


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_becomes_three_equal_channels(mode: str) -> None:
    levels = np.asarray(GREY)
    image = GREY if mode == "L" else Image.fromarray(levels.astype(np.uint16) * 257)
    expected = exact_average(levels[:, :, None], SIZE)
    assert largest_difference(encode(image), np.repeat(expected, 3, axis=2)) <= 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_is_looked_up(bits: int) -> None:
    palette = Image.fromarray(FACE).quantize(2**bits)
    expected = exact_average(np.asarray(palette.convert("RGB")), SIZE)
    assert largest_difference(encode(palette, bits=bits), expected) <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_composited_over_black(kind: str) -> None:
    image = with_alpha()
    black = Image.new("RGBA", image.size, "black")
    expected = exact_average(np.asarray(Image.alpha_composite(black, image).convert("RGB")), SIZE)
    data = encode(image, kind, lossless=True, exact=True)
    assert largest_difference(data, expected) <= 2


def test_grey_with_alpha_is_composited_over_black() -> None:
    half = Image.merge("LA", (GREY, Image.new("L", GREY.size, 128)))
    expected = exact_average(np.asarray(GREY)[:, :, None], SIZE) * 128 / 255
    assert largest_difference(encode(half), np.repeat(expected, 3, axis=2)) <= 2


def test_a_transparent_colour_of_a_png_is_black() -> None:
    image = Image.fromarray(flat(200))
    assert read_pixels(encode(image, transparency=(200, 200, 200)), SIZE).max() == 0


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0", "4:2:2"])
@pytest.mark.parametrize("edge", [1024, 512, 256, 128, 1000, 777, 100])
def test_a_jpeg_shrunk_by_its_dct_agrees_with_the_whole_decode(edge: int, subsampling: str) -> None:
    data = encode(portrait(edge), "JPEG", quality=95, subsampling=subsampling)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert largest_difference(data, exact_average(whole, SIZE)) <= 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpeg_colours_become_rgb(mode: str) -> None:
    data = encode(Image.fromarray(FACE).convert(mode), "JPEG", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert largest_difference(data, exact_average(whole, SIZE)) <= 4


def test_a_progressive_jpeg_is_read() -> None:
    data = encode(FACE, "JPEG", quality=95, progressive=True)
    assert largest_difference(data, AVERAGE) <= 8


def test_the_first_frame_of_an_animated_webp_is_taken() -> None:
    frames = [Image.fromarray(FACE), Image.fromarray(255 - FACE)]
    data = encode(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:], duration=100)
    assert largest_difference(data, AVERAGE) <= 1


def test_unused_frames_are_not_decoded() -> None:
    still = encode(FACE, "WEBP", lossless=True)
    frames = [Image.fromarray(FACE), Image.fromarray(255 - FACE)]
    data = encode(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:], duration=100)
    assert not read_header(still).needs_conversion
    assert read_header(data).needs_conversion
    # The second frame is damaged, and the first one is still read.
    assert largest_difference(data[:-200] + bytes(200), AVERAGE) <= 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(FACE)
    # A camera stores the inverse rotation; Pillow's own table gives it.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    data = encode(stored, kind, exif=exif, quality=95)
    assert np.abs(read_pixels(data, SIZE) - AVERAGE).mean() < 2.5


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_orientation_in_xmp_counts_where_exif_has_none(kind: str) -> None:
    xmp = b'<x tiff:Orientation="6"/>'
    tag = ExifTags.Base.Orientation
    for name, value, orientation in ((ExifTags.Base.Make, "camera", 6), (tag, 3, 3), (tag, 0, 1)):
        exif = Image.Exif()
        exif[name] = value
        data = encode(FACE, kind, xmp=xmp, exif=exif)
        found = Image.open(io.BytesIO(data)).getexif()[tag]
        assert read_header(data).orientation == orientation == (found or 1)


def test_a_broken_exif_block_does_not_spoil_the_picture() -> None:
    data = encode(FACE, "JPEG", quality=95, exif=b"Exif\x00\x00" + b"\xff" * 40)
    assert largest_difference(data, AVERAGE) <= 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_large_edge_that_does_not_divide_is_averaged_exactly(kind: str) -> None:
    face = portrait(333)
    data = encode(face, kind, lossless=True, quality=100, subsampling="4:4:4")
    assert largest_difference(data, exact_average(face, SIZE)) <= 4


@given(
    edge=st.integers(8, 70),
    size=st.integers(1, 8),
    channels=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_area_average_is_the_mean_over_the_area(edge: int, size: int, channels: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (edge, edge, channels), dtype=np.uint8)
    found = area_average(pixels, size)
    # Half a grey level is rounding; the excess is float32 precision.
    assert np.abs(found - exact_average(pixels, size)).max() <= 0.5 + 1e-3


def test_area_average_does_not_overflow_on_tall_images() -> None:
    white = np.full((2 * 300, 2 * 300, 1), 255, np.uint8)
    assert area_average(white, 2).min() == 255


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", EmptyImage, id="nothing"),
        pytest.param(b"hello, this is no image", UnsupportedImage, id="text"),
        pytest.param(encode(FACE, "GIF"), UnsupportedImage, id="gif"),
        pytest.param(encode(FACE, "BMP"), UnsupportedImage, id="bmp"),
        pytest.param(b"RIFF\x00\x00\x00\x00WAVEfmt ", UnsupportedImage, id="wave in riff"),
        pytest.param(encode(FACE)[:20], CorruptImage, id="png header cut"),
        pytest.param(encode(FACE)[:5000], CorruptImage, id="png cut"),
        pytest.param(encode(FACE, "JPEG")[:3], CorruptImage, id="jpeg header cut"),
        pytest.param(encode(FACE, "JPEG")[:5000], CorruptImage, id="jpeg cut"),
        pytest.param(b"\xff\xd8\xff\xd9", CorruptImage, id="jpeg of nothing"),
        pytest.param(encode(FACE, "WEBP")[:14], CorruptImage, id="webp header cut"),
        pytest.param(encode(FACE, "WEBP")[:2000], CorruptImage, id="webp cut"),
        pytest.param(b"RIFF\x10\x00\x00\x00WEBPALPH" + bytes(20), CorruptImage, id="webp without a picture"),
        pytest.param(png_of(0, 0, b""), CorruptImage, id="png of no size"),
        pytest.param(png_of(64, 64, bytes(50)), CorruptImage, id="png with too few lines"),
        pytest.param(encode(portrait(256)[:, :200]), NotSquare, id="portrait format"),
        pytest.param(encode(portrait(63)), ImageTooSmall, id="one pixel short"),
    ],
)
def test_the_fault_of_an_image_is_named(data: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error):
        read_pixels(data, SIZE)


def test_the_size_limit_is_checked_before_decoding() -> None:
    bomb = png_of(50_000, 50_000, bytes(10))
    with pytest.raises(ImageTooLarge, match="50000 x 50000"):
        read_pixels(bomb, SIZE)


def test_the_size_limit_counts_pixels() -> None:
    data = encode(portrait(128))
    assert read_pixels(data, SIZE, max_pixels=128 * 128).shape == (SIZE, SIZE, 3)
    with pytest.raises(ImageTooLarge):
        read_pixels(data, SIZE, max_pixels=128 * 128 - 1)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2] + b"\xff\xd9", id="cut, with an end put on"),
        pytest.param(lambda data: data[: len(data) // 2] + bytes(400) + data[len(data) // 2 + 400 :], id="overwritten"),
        pytest.param(lambda data: data[:-2], id="without its end"),
    ],
)
def test_a_jpeg_that_libjpeg_would_repair_is_corrupt(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(CorruptImage):
        read_pixels(damage(encode(portrait(512), "JPEG", quality=95)), SIZE)


def test_a_second_header_does_not_get_past_the_limit() -> None:
    small, huge = png_of(64, 64, bytes(64 * 193)), png_of(20_000, 20_000, b"")
    second = huge[8 : 8 + 25]
    with pytest.raises(CorruptImage):
        read_pixels(small[:33] + second + small[33:], SIZE)


def test_a_jpeg_with_endless_scans_is_refused() -> None:
    data = encode(FACE, "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(CorruptImage, match="scans"):
        read_pixels(data[:-2] + scan * 200 + data[-2:], SIZE)


@pytest.mark.parametrize(
    "filling", [b"\xff" * 2**20, bytes(2**20), b"\xff\xfe\x00\x02" * 2**18], ids=["fill", "junk", "comments"]
)
def test_a_padded_jpeg_header_is_refused_at_once(filling: bytes) -> None:
    data = encode(FACE, "JPEG")
    with pytest.raises(CorruptImage, match="padded"):
        read_pixels(data[:20] + filling + data[20:], SIZE)


def test_exif_bytes_outside_a_chunk_are_ignored() -> None:
    data = encode(flat(9))
    comment = png_chunk(b"tEXt", b"Comment\x00....eXIfMM\x00*\x00\x00\x00\x08")
    split = data.index(b"IDAT") - 4
    assert read_pixels(data[:split] + comment + data[split:], SIZE).max() == 9


@pytest.mark.parametrize("part", [b"IHDR", b"IDAT"])
def test_a_flipped_bit_in_a_png_is_found(part: bytes) -> None:
    data = bytearray(encode(FACE))
    data[data.index(part) + 12] ^= 4
    with pytest.raises(ImageError):
        read_pixels(bytes(data), SIZE)


def test_a_png_whose_checksum_alone_is_wrong_is_corrupt() -> None:
    sound = encode(flat(9))
    end = sound.index(b"IEND") - 4
    damaged = sound[: end - 4] + bytes(4) + sound[end:]
    with pytest.raises(CorruptImage):
        read_pixels(damaged, SIZE)


def test_a_damaged_extra_chunk_leaves_the_picture_readable() -> None:
    sound = encode(flat(9))
    note = bytearray(png_chunk(b"tEXt", b"Comment\x00hello"))
    note[-1] ^= 1
    split = sound.index(b"IDAT") - 4
    assert read_pixels(sound[:split] + bytes(note) + sound[split:], SIZE).max() == 9


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_bytes_raise_only_image_errors(data: st.DataObject) -> None:
    """Damage a real file anywhere: a picture or an ImageError, and never anything else."""
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = bytearray(encode(portrait(80), kind, exif=exif))
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(whole) - 1))
        whole[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    lost = data.draw(st.just(0) | st.integers(0, len(whole)))
    try:
        pixels = read_pixels(bytes(whole[: len(whole) - lost]), SIZE)
    except ImageError:
        return
    assert pixels.shape == (SIZE, SIZE, 3)
