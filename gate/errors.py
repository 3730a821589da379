"""What can go wrong between image bytes and a decision.

GateError
├── ImageError            the image itself is at fault; `code` is stable and goes over the wire
│   ├── EmptyImage
│   ├── UnsupportedImage
│   ├── CorruptImage
│   ├── ImageTooLarge
│   ├── ImageTooSmall
│   └── NotSquare
├── ModelError            a model that must not be served, or is not there
├── DeviceError           the device asked for cannot be used
└── ScoringError          the model ran and answered nonsense
"""


class GateError(Exception):
    """Base of every error this package raises on purpose; its text is fit to be shown to a caller."""


class ImageError(GateError):
    """An image that cannot be judged."""

    code = "invalid_image"


class EmptyImage(ImageError):
    """No bytes at all."""

    code = "empty_image"


class UnsupportedImage(ImageError):
    """The bytes are none of the formats that are read, or of a kind that no decoder here reads, such as 12-bit JPEG."""

    code = "unsupported_image"


class CorruptImage(ImageError):
    """The format is known, the bytes are damaged or end too early."""

    code = "corrupt_image"


class ImageTooLarge(ImageError):
    """The header announces more pixels than are allowed."""

    code = "image_too_large"


class ImageTooSmall(ImageError):
    """Smaller than the model's input: enlarging would invent pixels."""

    code = "image_too_small"


class NotSquare(ImageError):
    """The model saw square portraits only; a silent distortion would be worse than an error."""

    code = "not_square"


class ModelError(GateError):
    """A model folder that is missing, incomplete, altered or not understood."""


class DeviceError(GateError):
    """The device asked for, or the installed runtime, cannot be used."""


class ScoringError(GateError):
    """The model answered with the wrong number of values, or with values that are no probabilities."""
