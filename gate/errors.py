"""Errors between image bytes and a decision.

GateError
├── ImageError            the image is at fault; `code` is stable and part of the wire
│   ├── EmptyImage
│   ├── UnsupportedImage
│   ├── CorruptImage
│   ├── ImageTooLarge
│   ├── ImageTooSmall
│   └── NotSquare
├── ModelError            a model that is missing or must not be served
├── DeviceError           the requested device cannot be used
└── ScoringError          the model ran and returned invalid values
"""


class GateError(Exception):
    """Base of all errors this package raises deliberately; the text may be shown to a caller."""


class ImageError(GateError):
    """An image that cannot be judged."""

    code = "invalid_image"


class EmptyImage(ImageError):
    """The body or file has no bytes."""

    code = "empty_image"


class UnsupportedImage(ImageError):
    """The format is not PNG, JPEG or WebP, or a variant that no decoder here reads; or another file follows."""

    code = "unsupported_image"


class CorruptImage(ImageError):
    """The format is known, but the bytes are damaged or end too early."""

    code = "corrupt_image"


class ImageTooLarge(ImageError):
    """The header announces more pixels than the limit."""

    code = "image_too_large"


class ImageTooSmall(ImageError):
    """The image is smaller than the model's input; enlarging would invent pixels."""

    code = "image_too_small"


class NotSquare(ImageError):
    """The image is not square, and the model was trained on square portraits."""

    code = "not_square"


class ModelError(GateError):
    """A model folder that is missing, incomplete, altered or malformed."""


class DeviceError(GateError):
    """The requested device or the installed runtime cannot be used."""


class ScoringError(GateError):
    """The model answered with the wrong number of values, or with values that are not probabilities."""
