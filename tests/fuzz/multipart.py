"""Forms: the first byte says how the rest is cut. A recipe builds a form whose images are known."""

from collections.abc import Iterator

from service.api.batch.multipart import FormParser
from tests.fuzz.framing import Image, cut, images_of
from tests.fuzz.multipart_recipes import build
from tests.fuzz.recipes import recipe_in, recipes
from tests.service.streams.uploads import BOUNDARY, form, part

MAX_BYTES = 2_048
WORDS = (
    BOUNDARY,
    b"Content-Disposition: form-data",
    b"Content-Type: image/png",
    b"Content-Transfer-Encoding: base64",
    b"Content-Encoding: gzip",
    b"filename=",
    b"filename*=UTF-8''",
    b"filename*0=",
    b"\r\n--",
)


def read(data: bytes, step: int) -> tuple[list[Image], str | None]:
    """Images and verdict of pieces of this size."""
    return images_of(FormParser(BOUNDARY), cut(data, step), limit=len(data))


def check(data: bytes) -> None:
    """Raise AssertionError, or another exception, if the invariant is broken."""
    if draw := recipe_in(data):
        step, known = 1 + draw.byte(), build(draw)
        images, code = read(known.data, step)
        assert (images, code is not None) == (known.images, known.is_refused), f"{images} {code} instead of {known}"
        return
    step, rest = 1 + (data[0] if data else 0), data[1:]
    is_same = read(rest, step) == read(rest, max(1, len(rest)))
    assert is_same or _has_preamble(rest), f"pieces of {step} bytes are read differently"


def _has_preamble(form: bytes) -> bool:
    """Bytes before the first boundary: python-multipart refuses a CR among them, or not, as the pieces fall."""
    return not form.startswith(b"--" + BOUNDARY)


def seeds() -> Iterator[bytes]:
    """Forms with all kinds of part headers, and truncated ones."""
    whole = form([("a.png", b"first\r\n--"), ("b.png", b""), ("a.png", b"\r\n------boundar" * 3)])
    yield from (bytes([step]) + whole for step in (0, 1, 6, 255))
    yield b"\x05" + whole[:100]
    yield b"\x05" + whole + b"epilogue"
    opening = b"\xff--" + BOUNDARY + b"\r\nContent-Disposition: form-data; name=a; "
    for rest in (
        b"filename*=UTF-8''%e2%82%ac.png\r\n\r\nx",
        b"filename*0=a; filename*1=.png\r\n\r\nx",
        b'filename="a\\".png"\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nx',
        b"\r\nContent-Type: image/png\r\n\r\nx",
        b"x=y\r\n\r\nglasses",
        b"filename=a.png\r\nContent-Encoding: gzip\r\n\r\nx",
    ):
        yield opening + rest + b"\r\n--" + BOUNDARY + b"--\r\n"
    yield b"\x10" + part("a.png", b"x") * 3
    yield b""
    yield from recipes(200)
