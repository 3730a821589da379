"""Count the groups of prefix codes that a lossless WebP names: libwebp holds five tables for each, 5 kB or more.

A file of 300 kB can name 65,536 groups, which take 360 MB; libwebp's encoder writes 2,600 at most. The image that
assigns groups to the picture's blocks lies behind those of the transforms, so all of these are decoded here. They are
small, and only their literals matter: copies and cached colours repeat pixels. The picture itself is not decoded.
Repeated transforms, large caches and invalid codes, which libwebp refuses, would take unlimited time: they are refused.
"""

from gate.errors import CorruptImage

MAX_GROUPS = 4_096
"""Limit of groups."""

_GROUP_BYTES = 3
"""Least number of bytes that a group adds to a file: five codes of 4 bits, and a block of its own."""

_MAX_SYMBOLS = 300_000
"""Limit of pixels and copies that are read, at about 2 µs each: twice those of 4096 x 4096 pixels from libwebp."""

_PREDICTOR, _CROSS_COLOUR, _SUBTRACT_GREEN, _COLOUR_INDEX = range(4)
_LEVELS, _LENGTHS, _DISTANCES = 256, 24, 40
_CACHE_BITS = range(1, 12)
_CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_REPEATS = {16: (2, 3), 17: (3, 3), 18: (7, 11)}
"""Symbol of a code length -> extra bits, and the number of repetitions to add them to."""

_Table = list[tuple[int, int]]
"""The next bits of the stream -> length of their code and its symbol; the length of the table is a power of two."""


def check_groups(stream: memoryview, width: int, height: int) -> None:
    """Check the number of groups of a lossless picture: a VP8L chunk after its first 5 bytes, or alpha after its first.

    Raises:
        CorruptImage: there are too many groups, or the images before the picture are damaged or too large.
    """
    blocks = -(-width // 4) * -(-height // 4)
    if min(blocks, len(stream) // _GROUP_BYTES) <= MAX_GROUPS:
        return
    groups = _Reader(stream).groups(width, height)
    if groups > MAX_GROUPS:
        raise CorruptImage(
            f"the webp has {groups:,} groups of prefix codes: no encoder writes more than {MAX_GROUPS:,}"
        )


class _Reader:
    """Reads the bits of a stream, the lowest of each byte first."""

    def __init__(self, stream: memoryview) -> None:
        self._bytes = stream
        self._end = 8 * len(stream)
        self._at = 0
        self._symbols = 0

    def groups(self, width: int, height: int) -> int:
        """Return the number of groups that libwebp holds, or one more.

        Raises:
            CorruptImage: a transform is repeated, or an image before the picture is damaged or too large.
        """
        kinds = set[int]()
        while self._read(1):
            kind = self._read(2)
            if kind in kinds:
                raise CorruptImage("the webp repeats a transform: it is damaged")
            kinds.add(kind)
            width = self._skip_transform(kind, width, height)
        self._read_cache_size()
        if not self._read(1):
            return 1
        block = self._read(3) + 2
        return len(self._literals(_in_blocks(width, block), _in_blocks(height, block)) | {0})

    def _skip_transform(self, kind: int, width: int, height: int) -> int:
        """Return the width of the picture before the transform is applied."""
        if kind in (_PREDICTOR, _CROSS_COLOUR):
            block = self._read(3) + 2
            self._literals(_in_blocks(width, block), _in_blocks(height, block))
        elif kind == _COLOUR_INDEX:
            colours = self._read(8) + 1
            self._literals(colours, 1)
            width = _in_blocks(width, next((bits for bits, most in ((3, 2), (2, 4), (1, 16)) if colours <= most), 0))
        return width

    def _literals(self, width: int, height: int) -> set[int]:
        """Read an image, and return the red and green of its literals."""
        sizes = (_LEVELS + _LENGTHS + self._read_cache_size(), _LEVELS, _LEVELS, _LEVELS, _DISTANCES)
        green, red, blue, alpha, distance = (self._read_code(size) for size in sizes)
        literals, left = set[int](), width * height
        while left > 0:
            self._count_symbol()
            symbol = self._decode(green)
            if symbol < _LEVELS:
                literals.add(self._decode(red) << 8 | symbol)
                self._decode(blue)
                self._decode(alpha)
                left -= 1
            elif symbol < _LEVELS + _LENGTHS:
                left -= self._read_number(symbol - _LEVELS)
                self._read_number(self._decode(distance))
            else:
                left -= 1
        return literals

    def _read_cache_size(self) -> int:
        if not self._read(1):
            return 0
        bits = self._read(4)
        if bits not in _CACHE_BITS:
            raise CorruptImage(f"the webp names a colour cache of {bits} bits: it is damaged")
        return 1 << bits

    def _count_symbol(self) -> None:
        self._symbols += 1
        if self._symbols > _MAX_SYMBOLS:
            raise CorruptImage("the webp has larger images of transforms than encoders write: encode it again")
        if self._at > self._end:
            raise CorruptImage("the webp ends before its picture: it is damaged or incomplete")

    def _read_number(self, prefix: int) -> int:
        """Read a length or distance."""
        if prefix < 4:
            return prefix + 1
        extra = (prefix - 2) >> 1
        return (2 + (prefix & 1) << extra) + self._read(extra) + 1

    def _read_code(self, size: int) -> _Table:
        """Read a prefix code of symbols below `size`."""
        if self._read(1):
            count = self._read(1) + 1
            symbols = [self._read(8 if self._read(1) else 1), *[self._read(8) for _ in range(count - 1)]]
            return _table(dict.fromkeys(symbols, count - 1))
        lengths = {symbol: self._read(3) for symbol in _CODE_LENGTH_ORDER[: self._read(4) + 4]}
        table = _table(lengths)
        left = 2 + self._read(2 + 2 * self._read(3)) if self._read(1) else size
        return _table(self._read_lengths(table, size, left))

    def _read_lengths(self, table: _Table, size: int, left: int) -> dict[int, int]:
        """Read the code lengths of symbols below `size` from at most `left` symbols."""
        lengths, previous, symbol = dict[int, int](), 8, 0
        while symbol < size and left > 0:
            left -= 1
            length, count = self._decode(table), 1
            if length in _REPEATS:
                bits, least = _REPEATS[length]
                length, count = previous if length == 16 else 0, least + self._read(bits)
            previous = length or previous
            for _ in range(count):
                lengths[symbol] = length
                symbol += 1
        return lengths

    def _read(self, bits: int) -> int:
        value = self._ahead() & (1 << bits) - 1
        self._at += bits
        return value

    def _decode(self, table: _Table) -> int:
        if len(table) == 1:
            return table[0][1]
        length, symbol = table[self._ahead() & len(table) - 1]
        self._at += length
        return symbol

    def _ahead(self) -> int:
        """Return at least 25 bits; 0 behind the end."""
        byte = self._at >> 3
        return int.from_bytes(self._bytes[byte : byte + 4], "little") >> (self._at & 7)


def _in_blocks(edge: int, bits: int) -> int:
    return -(-edge >> bits)


def _table(lengths: dict[int, int]) -> _Table:
    """Return the table of a canonical code. A single symbol has a code of no bits, whatever its length says.

    Raises:
        CorruptImage: the code is ambiguous or incomplete; the time to fill its table would have no limit.
    """
    used = sorted((length, symbol) for symbol, length in lengths.items() if length)
    if len(used) < 2:
        return [(0, used[0][1] if used else min(lengths, default=0))]
    longest = used[-1][0]
    if sum(1 << longest - length for length, _ in used) != 1 << longest:
        raise CorruptImage("the webp has an invalid prefix code before its picture: it is damaged")
    table = [(0, 0)] * (1 << longest)
    code = 0
    for length, symbol in used:
        start = int(f"{code >> longest - length:0{length}b}"[::-1], 2)
        step = 1 << length
        table[start::step] = [(length, symbol)] * len(table[start::step])
        code += 1 << longest - length
    return table
