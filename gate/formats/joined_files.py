"""Refuse a file behind another one in the same bytes: only the first would be judged, and the rest lost in silence.

curl joins the files of several `--data-binary` by `&`; `cat` and programs that send a list of parts join them directly.
"""

import re

from gate.errors import UnsupportedImage
from gate.types import ImageBytes

_IMAGE = rb"(?:\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP)"
_BY_CURL = re.compile(b"&" + _IMAGE, re.DOTALL)
_JOINED = re.compile(rb"\0?&?" + _IMAGE, re.DOTALL)  # A WebP of odd length may have a byte of padding.


def check_alone(data: ImageBytes, end: int, *, may_be_followed: bool = False) -> None:
    """Check that no image follows the one that ends at `end`.

    `may_be_followed`: cameras append further images, such as a depth map, to the format.

    Raises:
        UnsupportedImage: another image follows.
    """
    if (_BY_CURL if may_be_followed else _JOINED).match(data, end):
        raise UnsupportedImage(
            "another image file follows the first: send one file alone, or several as a form or tar to the batch route"
        )
