"""Archives with a known answer: the images, and whether an error follows them."""

from common.tar_extended import MAX_EXTENDED_BYTES
from tests.fuzz.framing import Image, KnownUpload
from tests.fuzz.recipes import Draws

_BLOCK = 512
_LENGTHS = (3, 0, 1, 511, 512, 513, 1_024)
_FLAWS = ("checksum", "size", "digits", "record", "extended", "global", "cut", "link", "end", "rest")
_FATAL = frozenset(_FLAWS) - {"link"}


def build(draw: Draws) -> KnownUpload:
    """Build an archive of up to three members, one of them perhaps with a flaw."""
    count = 1 + draw.byte() % 3
    flaw, flawed = draw.flaw(_FLAWS), draw.byte() % count
    data, images = b"", list[Image]()
    for number in range(count):
        own = flaw if number == flawed else ""
        member, name, content = _member(draw, number, own)
        data += member
        if own not in ("", "end", "rest"):
            if own == "link":
                continue
            return KnownUpload(data + (b"" if own == "cut" else bytes(1_024)), images, is_refused=True)
        images.append((name, content))
        # Folders and texts are not images, and a second archive may follow the end of the first.
        data += draw.pick((b"", _head(b"folder/", b"5", 0), _file(b"note.txt", b"text"), bytes(1_024)))
    ending = {"end": b"", "rest": bytes(1_024) + b"rest"}.get(flaw, bytes(1_024))
    if flaw == "end":
        data += _file(b"note.txt", b"text")
    return KnownUpload(data + ending, images, is_refused=flaw in _FATAL)


def _member(draw: Draws, number: int, flaw: str) -> tuple[bytes, str, bytes]:
    """Return an image as it stands in an archive, its name and its content."""
    content = bytes([65 + number]) * draw.pick(_LENGTHS)
    if flaw == "cut":
        content = content or b"x"
    name, before, head_name, prefix = _named(draw, b"%d.png" % number)
    field, by_record = _size(draw, len(content))
    before += by_record
    if flaw == "size":
        field = draw.pick((b"\xff" * 12, b"0000000000x\0", b"\x80" + b"\xff" * 11, b"-0000000003\0"))
    elif flaw == "digits":
        before = _extended(b"x", _record(b"size", draw.pick((b"-3", b"x", b"9" * 19, b" 3"))))
    elif flaw == "record":
        before = _extended(b"x", draw.pick((b"99 path=a\n", b"8 path=a\n", b"11 path= a", b"path=a\n", b"7 =abc\n")))
    elif flaw == "extended":
        before = _extended(draw.pick((b"x", b"L", b"g")), bytes(MAX_EXTENDED_BYTES + 1))
    elif flaw == "global":
        before = _extended(b"g", _record(draw.pick((b"path", b"size")), b"3"))
    kind = draw.pick((b"1", b"2", b"3")) if flaw == "link" else draw.pick((b"0", b"\0", b"7"))
    head = _head(head_name, kind, 0 if flaw == "link" else field, prefix, error=flaw == "checksum")
    body = b"" if flaw == "link" else _padded(content)
    data = before + head + body
    if flaw == "cut":
        data = data[: len(data) - len(body) + len(content) - 1]
    return data, name.decode(), content


def _named(draw: Draws, name: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the name, the extended headers that give it, and the name and prefix of the header."""
    way = draw.pick(("header", "prefix", "pax", "gnu"))
    if way == "header":
        return name, b"", name, b""
    if way == "prefix":
        return b"some/" + name, b"", name, b"some"
    long = b"a" * 150 + name
    return long, _extended(b"x", _record(b"path", long)) if way == "pax" else _extended(b"L", long + b"\0"), b"x", b""


def _size(draw: Draws, size: int) -> tuple[bytes, bytes]:
    """Return the size in a header's field, and in an extended header or not at all."""
    way = draw.pick(("octal", "spaces", "binary", "pax"))
    if way == "pax":
        return b"00000000000\0", _extended(b"x", _record(b"size", b"%d" % size))
    return {"octal": b"%011o\0" % size, "spaces": b"%11o " % size, "binary": b"\x80" + size.to_bytes(11)}[way], b""


def _file(name: bytes, content: bytes) -> bytes:
    return _head(name, b"0", len(content)) + _padded(content)


def _extended(kind: bytes, content: bytes) -> bytes:
    return _head(b"././@LongLink", kind, len(content)) + _padded(content)


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %b=%b\n" % (length, key, value)


def _head(name: bytes, kind: bytes, size: int | bytes, prefix: bytes = b"", *, error: bool = False) -> bytes:
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = name.ljust(100, b"\0") + b"0000644\0" * 3 + field + b"00000000000\0" + b" " * 8 + kind
    block = (block.ljust(257, b"\0") + b"ustar\00000").ljust(345, b"\0") + prefix
    block = block.ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % (sum(block) + error) + block[156:]


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)
