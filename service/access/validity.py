"""When certificates end. Python's `ssl` tells it only of the other side's certificate."""

import re
from binascii import a2b_base64
from datetime import UTC, datetime

_INTEGER, _SEQUENCE, _UTC_TIME = 0x02, 0x30, 0x17
# Further names of the block, which OpenSSL reads too; trust settings follow the certificate in it.
_BLOCK = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.+?)-----END", re.DOTALL)


def read_ends(pem: bytes) -> list[float | None]:
    """Return the end of each certificate in seconds since 1970; None for one that is written otherwise."""
    return [_read_end(block) for block in _BLOCK.findall(pem)]


def _read_end(base64: bytes) -> float | None:
    try:
        certificate = _Der(a2b_base64(base64))
        fields = _Der(_Der(certificate.take()[1]).take()[1])
        # Before the validity: serial number, algorithm and issuer, and mostly a version ahead of them.
        first, _ = fields.take()
        for _ in range(2 if first == _INTEGER else 3):
            fields.take()
        tag, value = fields.take()
        if tag != _SEQUENCE:
            return None
        validity = _Der(value)
        validity.take()
        return _seconds(*validity.take())
    except (ValueError, IndexError):
        return None


class _Der:
    """Reads the elements of a DER encoding in their order (X.690)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self) -> tuple[int, bytes]:
        """Return tag and content of the next element."""
        tag, length = self._data[self._at], self._data[self._at + 1]
        start = self._at + 2
        if length >= 0x80:
            size = length & 0x7F
            length = int.from_bytes(self._data[start : start + size], "big")
            start += size
        self._at = start + length
        return tag, self._data[start : self._at]


def _seconds(tag: int, text: bytes) -> float:
    if tag == _UTC_TIME:  # Two digits of the year: from 1950 to 2049.
        text = (b"19" if text[:2] >= b"50" else b"20") + text
    return datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
