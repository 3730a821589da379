"""Invalid arguments: a short error that names the argument and the correct one, before any request."""

import base64
import enum
import io
import os
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import Ask, AsyncGate, AsyncGateFilter, BadImage, Gate, GateFilter, to_uint8
from lensgate_client._pixels import image_files
from lensgate_client._pixels.images import open_image
from lensgate_client._pixels.raster import Raster, is_tensor

from tests.client.support import URL, Make, ScriptedGate, read_head
from tests.support.images import encode, flat, portrait

FACE = encode(portrait(128))
PIXELS = portrait(64)
BASE64 = base64.b64encode(np.random.default_rng(0).bytes(1_000_000))
SHORT = 400


def refused(image: Any) -> BadImage:
    """Return the error for an unsupported image."""
    with pytest.raises(BadImage) as caught:
        open_image(image)
    assert len(str(caught.value)) < SHORT
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("begin", ["", "data:image/png;base64,", "\n", ' "data:image/png;base64,'])
def test_base64_is_rejected_with_a_conversion(kind: str, as_bytes: bool, begin: str) -> None:
    text = begin + base64.b64encode(encode(PIXELS, kind) + bytes(10**6)).decode()
    error = refused(text.encode() if as_bytes else text)
    assert error.code == "unreadable_file"
    assert f"{len(text):,} characters" in error.detail
    assert "pass base64.b64decode(text" in error.detail


@pytest.mark.parametrize("text", [BASE64.decode(), "x" * 10**6, "/" * 10**6, "data:" + "é" * 10**6, "a\n" * 10**6])
def test_long_text_is_truncated_in_the_error(script: Make, text: str) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    refused(text)
    with pytest.raises(BadImage) as caught:
        asking.decide(text)
    (outcome,) = asking.decide_many([text])
    assert len(str(caught.value)) < SHORT
    assert not outcome.accepted
    assert len(outcome.detail) < SHORT  # type: ignore[union-attr]
    assert scripted.seen == []


@pytest.mark.parametrize("url", ["https://faces.example/1.png", "s3://faces/1.png", "file:///faces/1.png"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_url_is_rejected(url: str, as_bytes: bool) -> None:
    assert "is a URL, and the client does not download" in refused(url.encode() if as_bytes else url).detail


def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in (
        (tmp_path, "is a directory"),
        (pipe, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        assert reason in refused(path).detail
    assert "No such file" in refused(tmp_path / "missing.png").detail
    monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 100)
    (tmp_path / "large.png").write_bytes(bytes(101))
    assert refused(tmp_path / "large.png").code == "body_too_large"


class Text(str):
    """A string with another `__str__`."""

    def __str__(self) -> str:
        return "another"


class Entry(os.PathLike[bytes]):
    """A path of bytes, as `os.scandir(b".")` returns."""

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __fspath__(self) -> bytes:
        return self._path


def test_path_types_are_read(tmp_path: Path) -> None:
    file = tmp_path / "face.png"
    file.write_bytes(FACE)
    paths: list[Any] = [file, str(file), Text(file), np.str_(file), Entry(os.fsencode(file))]
    assert [open_image(path) for path in paths] == [FACE] * 5


def test_file_object_is_rejected_with_a_conversion(tmp_path: Path, script: Make) -> None:
    file = tmp_path / "face.png"
    file.write_bytes(FACE)
    asking = script(ScriptedGate())
    with file.open("rb") as binary, file.open(encoding="latin-1") as text:
        objects: list[Any] = [binary, text, io.BytesIO(FACE), io.StringIO("x")]
        for each in objects:
            assert "Pass the bytes" in refused(each).detail
            with pytest.raises(TypeError, match="not a file object"):
                asking.decide_many(each)


def test_an_iterable_is_iterated_once(script: Make) -> None:
    """A data loader starts its workers in `__iter__`."""

    class Loader:
        started = 0

        def __iter__(self) -> Iterator[bytes]:
            self.started += 1
            return iter([FACE])

    loader = Loader()
    assert len(list(script(ScriptedGate()).stream(loader))) == 1
    assert loader.started == 1


@pytest.mark.parametrize("dtype", ["O", "U", "S"])
def test_each_element_of_a_column_is_an_image(script: Make, dtype: str, tmp_path: Path) -> None:
    """The column was one image, so that all but one outcome were missing."""
    file = tmp_path / "face.png"
    file.write_bytes(FACE)
    column = np.array([FACE if dtype == "S" else str(file)] * 3, dtype)
    asking = script(ScriptedGate())
    assert [outcome.accepted for outcome in asking.decide_many(column)] == [True] * 3
    assert len(list(asking.stream(column))) == 3


def test_columns_of_other_libraries_are_known_by_their_element_types() -> None:
    class Column:
        shape = (3,)

        def __init__(self, dtype: str) -> None:
            self.dtype = dtype

    texts = ["object", "str", "string", "large_string[pyarrow]", "category", "String", "Binary", "Categorical"]
    assert not any(is_tensor(Column(name)) for name in texts)
    assert all(is_tensor(Column(name)) for name in ["uint8", "UInt8", "Float64", "bool", "uint8[pyarrow]"])


@pytest.mark.parametrize(("images", "match"), [({"a": FACE}, "values"), (5, "not int"), (None, "not NoneType")])
def test_argument_without_images_raises_type_error(script: Make, images: Any, match: str) -> None:
    asking = script(ScriptedGate())
    with pytest.raises(TypeError, match=match):
        asking.decide_many(images)
    with pytest.raises(TypeError, match=match):
        list(asking.stream(images))


@pytest.mark.parametrize(
    ("array", "cure"),
    [
        (np.zeros((64, 64, 3), np.float32), "to_uint8"),
        (np.zeros((64, 64, 3), np.uint16), ">> 8"),
        (np.zeros((64, 64, 3), np.int64), "astype"),
        (np.zeros((64, 64, 3), bool), r"\* 255"),
        (np.zeros((64, 64, 3), object), "object, not uint8"),
        (np.zeros((64, 64, 3), np.complex64), "complex64, not uint8"),
        (np.zeros((64, 64, 4), np.uint8), "Image.fromarray"),
        (np.zeros((4, 64, 64), np.uint8), "Image.fromarray"),
        (np.zeros((64, 64), np.uint8), "numpy.stack"),
        (np.zeros((64, 64, 1), np.uint8), "numpy.repeat"),
        (np.zeros((0, 0, 3), np.uint8), "does not fit RGB images"),
        (np.zeros((1,) * 60, np.uint8), "does not fit RGB images"),
        (np.zeros((3, 3), "U9999"), "not uint8"),
        (np.zeros(3, "U9999"), "a ndarray of str319968. Pass its elements"),
        (np.array(b"encoded"), r"a ndarray of bytes56\. .* encoded file: tensor\.numpy\(\)"),
        (np.zeros(3, [("x" * 9_999, np.uint8)]), "not uint8"),
        (np.uint8(3), "does not fit RGB images"),
    ],
)
def test_unsupported_array_is_rejected_with_a_conversion(array: Any, cure: str) -> None:
    with pytest.raises(BadImage, match=cure) as caught:
        open_image(array)
    assert len(str(caught.value)) < SHORT


@pytest.mark.parametrize(
    "view",
    [
        lambda pixels: pixels[::-1],
        lambda pixels: pixels[:, ::-1],
        lambda pixels: pixels[..., ::-1],
        np.asfortranarray,
        lambda pixels: np.repeat(pixels, 2, axis=0)[::2],
        lambda pixels: pixels.transpose(1, 0, 2),
        lambda pixels: np.broadcast_to(pixels[:1, :1], pixels.shape),
        lambda pixels: np.ma.masked_array(pixels, mask=pixels > 9),
        lambda pixels: pixels.transpose(2, 0, 1)[:, ::-1],
    ],
)
@pytest.mark.parametrize("edge", [64, 100])
def test_strided_views_have_the_same_pixels(view: Any, edge: int) -> None:
    pixels = portrait(edge)
    pixels.flags.writeable = False
    given, copied = view(pixels), np.array(view(pixels))
    found, wanted = open_image(given), open_image(copied)
    assert isinstance(found, Raster)
    assert isinstance(wanted, Raster)
    assert found.encode_png(0) == wanted.encode_png(0)
    if edge == 64:
        assert np.array_equal(found.shrink(0, 1, size=32), wanted.shrink(0, 1, size=32))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_to_uint8_rejects_nan() -> None:
    images = np.zeros((2, 3, 64, 64), np.float32)
    images[1, 2, 3, 4] = np.nan
    with pytest.raises(BadImage, match="contain NaN"):
        to_uint8(images)
    images[1, 2, 3, 4] = np.inf
    assert to_uint8(images)[1, 2, 3, 4] == 255


class Word(str, enum.Enum):  # noqa: UP042 - its `str` differs from its value
    """Labels as a str enumeration."""

    GLASSES = "glasses"


class Plain(enum.Enum):
    """Labels as a plain enumeration."""

    GLASSES = "glasses"


LABELS: list[Any] = [Word.GLASSES, np.str_("glasses"), Text("glasses")]


@pytest.mark.parametrize("label", LABELS)
def test_label_of_a_str_subclass_is_sent_as_its_value(script: Make, label: Any) -> None:
    scripted = ScriptedGate()
    script(scripted).decide(FACE, label)
    script(scripted).decide_many([PIXELS], label)
    assert scripted.seen[0].url.params["expected"] == "glasses"
    assert read_head(scripted.seen[2])["inputs"][1]["data"] == ["glasses"]


INVALID_LABELS: list[Any] = [
    *("Glasses", "glases", "", " glasses", "x" * 10**6, b"glasses"),
    *(True, False, 1, 0, np.bool_(True), np.array("glasses"), np.array(["glasses"] * 10**5), Plain.GLASSES),
    *(["glasses"], ["glasses"] * 10**5, ("glasses", None), {"glasses": 1}, {"glasses"}),
]


@pytest.mark.parametrize("label", INVALID_LABELS, ids=range(len(INVALID_LABELS)))
def test_invalid_label_is_rejected_before_sending(script: Make, label: Any) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    kind: Any = GateFilter if isinstance(asking.gate, Gate) else AsyncGateFilter
    calls: list[Callable[[], Any]] = [
        lambda: asking.decide(FACE, label),
        lambda: asking.decide_many([FACE], label),
        lambda: list(asking.stream([FACE], label)),
        lambda: Ask(FACE, label),
        lambda: kind(asking.gate).take([FACE], expected=label),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="expected must be one of glasses, no_glasses, or None, not ") as caught:
            call()
        assert len(str(caught.value)) < SHORT
        if isinstance(label, list | tuple):
            assert "pass Ask(image, expected)" in str(caught.value)
    assert scripted.seen == []


@pytest.mark.parametrize(
    ("labels", "is_told"),
    [(["glasses"], True), (np.array(["glasses"]), True), (np.array([1]), True), (iter(()), True), (b"glasses", False)],
)
def test_labels_of_several_images_are_told_to_be_asked(labels: Any, *, is_told: bool) -> None:
    with pytest.raises(ValueError, match="None, not") as caught:
        Ask(FACE, labels)
    assert ("pass Ask(image, expected)" in str(caught.value)) == is_told


def test_misspelt_keyword_raises_type_error(script: Make) -> None:
    asking = script(ScriptedGate())
    calls: list[Any] = [asking.gate.decide, asking.gate.decide_many, asking.gate.decide_stream, Ask]
    for call in calls:
        with pytest.raises(TypeError, match="expectd"):
            call(FACE, expectd="glasses")


def test_numbers_of_other_libraries_are_options(script: Make) -> None:
    asking = script(ScriptedGate(), timeout=Decimal(5), concurrency=np.array(2), batch_size=np.float64(2.0))
    assert all(outcome.accepted for outcome in asking.decide_many(np.stack([PIXELS] * 3), timeout=np.float32(5.0)))
    with pytest.raises(ValueError, match="timeout must be a number, at most 2,147,483 seconds, not '5'"):
        asking.decide(FACE, timeout="5")


def test_a_transport_of_the_other_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="one of httpx with handle_request, not AsyncHTTPTransport"):
        Gate(URL, transport=httpx.AsyncHTTPTransport())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="one of httpx with handle_async_request, not Client"):
        AsyncGate(URL, transport=httpx.Client())  # type: ignore[arg-type]


def test_a_transport_needs_no_base_class() -> None:
    transport: Any = SimpleNamespace(handle_request=ScriptedGate(), close=lambda: None)
    with Gate(URL, transport=transport) as gate:
        assert gate.decide(FACE).accepted


def test_label_of_an_ask_takes_precedence(script: Make) -> None:
    scripted = ScriptedGate()
    images = [Ask(PIXELS, None), Ask(PIXELS, "no_glasses"), PIXELS]
    script(scripted).decide_many(images, "glasses")
    script(scripted).decide_many(images)
    first, second = (
        read_head(request)["inputs"][1]["data"] for request in scripted.seen if "infer" in request.url.path
    )
    assert first == ["glasses", "no_glasses", "glasses"]
    assert second == ["", "no_glasses", ""]


@pytest.mark.parametrize("name", [5, uuid.uuid4(), b"a", True, "x" * 10**6])
def test_id_of_another_type_or_length_is_rejected(script: Make, name: Any) -> None:
    for call in (lambda: Ask(FACE, id=name), lambda: script(ScriptedGate()).decide(FACE, id=name)):
        with pytest.raises(ValueError, match="an id must be a str of 1 to 128 characters") as caught:
            call()
        assert len(str(caught.value)) < SHORT


def test_reused_buffer_is_read_each_time(script: Make) -> None:
    scripted = ScriptedGate()
    buffer = np.zeros((64, 64, 3), np.uint8)

    def images() -> Iterator[Any]:
        for level in range(40):
            buffer[:] = level
            yield Ask(buffer) if level % 2 else buffer

    assert len(script(scripted, concurrency=1).decide_many(images())) == 40
    bodies = b"".join(request.content[-8 * 3_072 :] for request in scripted.seen[-1:])
    assert list(bodies[::3_072]) == list(range(32, 40))


def test_reused_buffer_is_not_shrunk_again(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    asking.decide(PIXELS)
    scripted.size = 64
    scripted.infer = lambda _: httpx.Response(400)
    buffer = flat(9)
    outcomes = asking.decide_many(buffer for _ in range(3))
    assert [outcome.code for outcome in outcomes] == ["model_changed"] * 3  # type: ignore[union-attr]
