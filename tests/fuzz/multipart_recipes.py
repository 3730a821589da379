"""Forms with a known answer: the images, and whether an error follows them."""

from tests.fuzz.framing import Image, KnownUpload
from tests.fuzz.recipes import Draws
from tests.service.streams.uploads import BOUNDARY

_CONTENTS = (
    *(b"picture", b"", b"\r\n", b"\r", b"\r\n--", b"--" + BOUNDARY + b"x", b"\r\n--" + BOUNDARY[:-1]),
    *(b"\r\n\r\n--" + BOUNDARY[:-1] + b"8", bytes(range(256)), b"\n--" + BOUNDARY + b"\n"),
)
_NAMES = (
    (b'; filename="%d.png"', "%d.png"),
    (b"; filename=%d.png", "%d.png"),
    (b"; filename*=UTF-8''%%e2%%82%%ac%d.png", "€%d.png"),
    (b"; filename*=utf-8'en'%d.png", "%d.png"),
    (b'; filename="a;b%d.png"', "a;b%d.png"),
)
_REFUSED = (
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Encoding: gzip\r\n",
    b"content-encoding: identity\r\nContent-Encoding: GZIP\r\n",
    b"Content-Type: image/png\r\nContent-Type: multipart/mixed\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n",
)
_HARMLESS = (
    b"",
    b"Content-Type: image/png\r\n",
    b"CONTENT-TYPE: Application/Octet-Stream\r\n",
    b"Content-Transfer-Encoding: Binary\r\n",
    b"Content-Encoding: identity\r\ncontent-encoding: identity\r\n",
    b"X-Other: multipart/mixed\r\nContent-Type: text/plain\r\n",
)


def build(draw: Draws) -> KnownUpload:
    """Build a form of up to three parts, one of them perhaps with a flaw."""
    count = 1 + draw.byte() % 3
    flaw, flawed = draw.flaw(("refused", "field", "nameless", "unclosed", "cut")), draw.byte() % count
    data, images = b"", list[Image]()
    for number in range(count):
        own = flaw if number == flawed else ""
        part, name, content = _part(draw, number, own)
        data += b"--" + BOUNDARY + b"\r\n" + part
        if own == "field":
            return KnownUpload(data + b"--" + BOUNDARY + b"--\r\n", images, is_refused=True)
        if own == "cut":
            return KnownUpload(data[: -3 - len(content)], images, is_refused=True)
        if own != "refused":
            images.append((name, content))
    if flaw == "unclosed":
        # Without the boundary that follows it, the last image is not complete.
        return KnownUpload(data, images[:-1], is_refused=True)
    return KnownUpload(data + b"--" + BOUNDARY + b"--" + draw.pick((b"\r\n", b"")), images, is_refused=False)


def _part(draw: Draws, number: int, flaw: str) -> tuple[bytes, str, bytes]:
    """Return a part up to the boundary that follows it, the name of its file and its content."""
    option, name = draw.pick(_NAMES)
    other = draw.pick(_REFUSED if flaw == "refused" else _HARMLESS)
    disposition = b"form-data; name=image" + option % number
    if flaw in ("field", "nameless"):
        disposition, name = b"form-data; name=expected", ""
        other = b"Content-Type: image/png\r\n" if flaw == "nameless" else b""
    line = draw.pick((b"Content-Disposition: ", b"content-disposition: ")) + disposition + b"\r\n"
    heads = [line, other]
    content = draw.pick(_CONTENTS)
    head = b"".join(heads if draw.byte() % 2 else reversed(heads))
    return head + b"\r\n" + content + b"\r\n", name % number if "%" in name else name, content
