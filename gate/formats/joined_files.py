"""Refuse what curl and others join to an image: only the image would be read, and the rest lost in silence.

curl joins the arguments of several `--data-binary` and `-d` by `&`; `cat` and programs that send a list of parts join
files directly.
"""

import re

from gate.errors import UnsupportedImage
from gate.types import ImageBytes

_IMAGE = rb"(?:\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP)"
_BY_CURL = re.compile(b"&" + _IMAGE, re.DOTALL)
_JOINED = re.compile(rb"\0?&?" + _IMAGE, re.DOTALL)  # A WebP of odd length may have a byte of padding.
_FIELD = re.compile(rb"\0?&([\w.%+-]{1,64})=")


def check_alone(data: ImageBytes, end: int, *, may_be_followed: bool = False) -> None:
    """Check that neither another image nor a form field follows the image that ends at `end`.

    `may_be_followed`: cameras append further images, such as a depth map, to the format.

    Raises:
        UnsupportedImage: one follows.
    """
    if (_BY_CURL if may_be_followed else _JOINED).match(data, end):
        raise UnsupportedImage(
            "another image file follows the first: send one file alone, or several as a form or tar to the batch route"
        )
    if field := _FIELD.match(data, end):
        raise UnsupportedImage(
            f"the form field {field[1].decode()!r} follows the image: send the file alone, and orders in the query"
        )
