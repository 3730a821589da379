"""`from lensgate import Gate`: the service's decisions in this process."""

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lensgate
from gate import Action, Band, Label, ModelError, Reason
from lensgate import Decision, DeviceError, Gate, ImageError, ImageFailed
from tests.conftest import ROOT
from tests.support.images import encode, flat, portrait
from tests.support.models import brightness_model, write_model

BATCH = 32
"""Images that the model gets at a time."""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """The probability is the mean brightness; the band is that of the paper."""
    write_model(tmp_path, brightness_model("7"))
    return Gate(tmp_path)


def probabilities(outcomes: Iterable[Decision | ImageFailed]) -> list[float]:
    return [outcome.glasses_probability for outcome in outcomes if isinstance(outcome, Decision)]


@pytest.mark.parametrize(
    "make",
    [
        encode,
        lambda pixels: bytearray(encode(pixels)),
        lambda pixels: memoryview(encode(pixels)),
        lambda pixels: pixels,
    ],
)
def test_bytes_and_arrays_are_decided(gate: Gate, make: Callable[[object], bytes]) -> None:
    found = gate.decide(make(flat(51)), expected="glasses")
    assert found == Decision(
        glasses_probability=0.2,
        label=Label.NO_GLASSES,
        decision=Action.DISCARD,
        reason=Reason.CONTRADICTED,
        novelty=None,
        band=Band(0.4, 0.6),
        model_name="glasses",
        model_version="7",
    )
    assert not found.accepted


def test_an_empty_path_and_the_array_of_a_file_are_named(gate: Gate) -> None:
    with pytest.raises(ImageError, match="the path is empty"):
        gate.decide("")
    with pytest.raises(ImageError, match=r"tobytes\(\)"):
        gate.decide(np.frombuffer(b"encoded", np.uint8))


@pytest.mark.parametrize("image", [Image.new("CMYK", (96, 96)), None, [1, 2]], ids=lambda image: type(image).__name__)
def test_another_object_is_refused_with_the_way_out(gate: Gate, image: Any) -> None:
    """Not with `numpy.asarray`, which gives the samples of a CMYK or LAB image and drops alpha and orientation."""
    with pytest.raises(ImageError, match=f"not {type(image).__name__}: pass the bytes or the path of its file"):
        gate.decide(image)


@pytest.mark.parametrize("path", ["null\0character.png", "\ud800.png", "iVBORw0KGgo" * 100_000, "a" * 300])
def test_a_path_that_no_file_can_have_fails_alone_and_in_short(gate: Gate, path: str) -> None:
    outcomes = gate.decide_many([path, flat(255, 32)])
    assert isinstance(outcomes[0], ImageFailed)
    assert outcomes[0].code == "unreadable_file"
    assert outcomes[0].detail.startswith(path.encode(errors="backslashreplace").decode()[:200])
    assert len(outcomes[0].detail) < 300
    assert outcomes[1].accepted


def test_a_path_and_the_pixels_of_a_file_are_decided_as_its_bytes(gate: Gate, tmp_path: Path) -> None:
    pixels = portrait(96)
    data = encode(pixels)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    (entry,) = (each for each in os.scandir(os.fsencode(tmp_path)) if each.name == b"a.png")
    found = [gate.decide(image) for image in (data, path, str(path), entry, pixels, pixels[:, :])]
    assert found == [found[0]] * 6


def test_the_band_can_be_replaced_and_an_impossible_one_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, brightness_model())
    assert Gate(tmp_path, band_low=0.1).decide(flat(51)).reason == "uncertain"
    with pytest.raises(ValueError, match=r"low 0\.9"):
        Gate(tmp_path, band_low=0.9)


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", "empty_image"),
        (b"text", "unsupported_image"),
        (encode(portrait(80)[:70]), "not_square"),
        ("absent.png", "unreadable_file"),
        (Path("/"), "unreadable_file"),
        (np.zeros((64, 64, 3), np.float32), "unsupported_image"),
        (np.zeros((64, 64), np.uint8), "unsupported_image"),
        (np.zeros((64, 65, 3), np.uint8), "not_square"),
        (np.zeros((8, 8, 3), np.uint8), "image_too_small"),
    ],
    ids=str,
)
def test_the_error_of_an_image_has_a_code(gate: Gate, image: bytes, code: str) -> None:
    with pytest.raises(ImageError) as raised:
        gate.decide(image)
    assert raised.value.code == code
    (outcome,) = gate.decide_many([image])
    assert isinstance(outcome, ImageFailed)
    assert (outcome.code, outcome.detail, outcome.accepted) == (code, str(raised.value), False)


def test_many_keep_their_order_and_one_broken_image_fails_alone(gate: Gate) -> None:
    levels = [number % 256 for number in range(2 * BATCH + 3)]
    images = [b"broken" if level == 40 else encode(flat(level, 32)) for level in levels]
    outcomes = gate.decide_many(images)
    assert isinstance(outcomes.pop(40), ImageFailed)
    levels.remove(40)
    assert probabilities(outcomes) == pytest.approx([level / 255 for level in levels], abs=1e-6)


def test_a_stream_reads_one_batch_ahead_and_a_batch_of_pixels_is_many_images(gate: Gate) -> None:
    read = []

    def endless() -> object:
        while True:
            read.append(1)
            yield flat(255, 32)

    assert next(iter(gate.decide_stream(endless()))).accepted  # type: ignore[arg-type]
    assert len(read) == BATCH
    outcomes = gate.decide_many(np.stack([flat(0, 32), flat(255, 32)]), expected="glasses")
    assert [outcome.accepted for outcome in outcomes] == [False, True]


@pytest.mark.parametrize("kind", [np.array, bytearray])
def test_an_iterator_may_reuse_its_memory(gate: Gate, kind: Callable[[Any], Any]) -> None:
    levels = [0, 255, 51, 204] * 20
    files = [flat(level, 32) if kind is np.array else encode(flat(level, 32)) for level in levels]
    buffer = kind(files[0])

    def images() -> Iterator[Any]:
        for file in files:
            buffer[:] = file
            yield buffer

    assert probabilities(gate.decide_stream(images())) == pytest.approx([level / 255 for level in levels], abs=1e-6)


def test_a_data_set_may_reuse_its_memory(gate: Gate) -> None:
    """It is a sequence, but makes each item when it is asked for."""
    levels = [0, 255, 51, 204] * 20

    class DataSet(Sequence[Any]):
        buffer = flat(0, 32)

        def __len__(self) -> int:
            return len(levels)

        def __getitem__(self, index: Any) -> Any:
            self.buffer[:] = levels[index]
            return self.buffer

    assert probabilities(gate.decide_many(DataSet())) == pytest.approx([level / 255 for level in levels], abs=1e-6)


def test_an_iterator_may_reuse_a_file(gate: Gate, tmp_path: Path) -> None:
    levels = [0, 255, 51, 204] * 20

    def images() -> Iterator[Path]:
        for level in levels:
            (tmp_path / "a.png").write_bytes(encode(flat(level, 32)))
            yield tmp_path / "a.png"
            (tmp_path / "a.png").unlink()

    assert probabilities(gate.decide_stream(images())) == pytest.approx([level / 255 for level in levels], abs=1e-6)


@pytest.mark.parametrize("count", [0, 5, BATCH, BATCH + 1])
def test_an_error_of_the_iterator_is_raised_after_earlier_outcomes(gate: Gate, count: int) -> None:
    def images() -> Iterator[Any]:
        for _ in range(count):
            yield flat(255, 32)
        raise OSError("the disk is gone")

    outcomes = []
    with pytest.raises(OSError, match="the disk is gone"):
        for outcome in gate.decide_stream(images()):
            outcomes.append(outcome)
    assert len(outcomes) == count


@pytest.mark.parametrize("image", [b"bytes", bytearray(b"b"), "a.png", Path("a.png"), flat(255)], ids=str)
def test_one_image_in_place_of_many_is_refused(gate: Gate, image: Any) -> None:
    """Each byte, letter or row of pixels would fail as an image."""
    with pytest.raises(TypeError, match="not one image: pass a list, or call decide"):
        gate.decide_many(image)


@pytest.mark.parametrize(("images", "match"), [(io.BytesIO(b"a\nb"), "not a file object"), ({"a": b""}, "values")])
def test_what_iterates_over_other_things_than_images_is_refused(gate: Gate, images: Any, match: str) -> None:
    """Each line of a file was an image that failed as "a PNG that was altered as text", and each key a path."""
    with pytest.raises(TypeError, match=match):
        gate.decide_stream(images)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_gate_is_not_sent_to_another_process(gate: Gate, duplicate: Callable[[Gate], object]) -> None:
    with pytest.raises(TypeError, match="a Gate cannot be copied or pickled: create one in each process"):
        duplicate(gate)


def test_threads_share_one_gate(gate: Gate) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda level: gate.decide(flat(level, 32)).glasses_probability, range(64)))
    assert found == pytest.approx([level / 255 for level in range(64)], abs=1e-6)


def test_a_label_that_does_not_exist_is_refused_before_an_image_is_read(gate: Gate) -> None:
    refused = "expected must be one of glasses, no_glasses, or None, not 'hat'"
    with pytest.raises(ValueError, match=refused):
        gate.decide_stream(iter(()), expected="hat")
    with pytest.raises(ValueError, match=refused):
        gate.decide(b"not an image", expected="hat")


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:0", ""])
def test_a_device_that_does_not_exist_is_refused_and_not_replaced_by_the_cpu(device: Any, tmp_path: Path) -> None:
    write_model(tmp_path, brightness_model("7"))
    with pytest.raises(DeviceError, match=f"must be one of auto, cpu, cuda, not '{device}'"):
        Gate(tmp_path, device=device)


def test_a_missing_model_names_the_folder_and_the_argument(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{tmp_path}.* in Python as models="):
        Gate(tmp_path)


def test_a_version_may_be_a_number(tmp_path: Path) -> None:
    write_model(tmp_path, brightness_model("7"))
    assert Gate(tmp_path, version=7).card.version == "7"


def test_the_default_is_the_models_folder_here_and_then_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Gate().card.version == (ROOT / "models/glasses/CURRENT").read_text().strip()
    write_model(tmp_path / "models", brightness_model("here"))
    assert Gate().card.version == "here"


def test_the_import_is_cheap_and_names_what_it_offers() -> None:
    code = "import sys, lensgate; print({'numpy', 'onnxruntime', 'pydantic', 'gate'} & set(sys.modules) or 'none')"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT) == "none\n"
    assert all(getattr(lensgate, name) for name in lensgate.__all__)
    assert set(lensgate.__all__) <= set(dir(lensgate))
    with pytest.raises(AttributeError, match="no attribute 'Gat'"):
        lensgate.Gat  # noqa: B018


def test_a_missing_runtime_is_named_with_its_remedy() -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; from lensgate import Gate"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "lensgate.Gate needs onnxruntime: run pip install '.[cpu]' in Lensgate's checkout" in done.stderr


def test_a_script_that_is_called_like_a_package_is_named(tmp_path: Path) -> None:
    script = tmp_path / "gate.py"
    script.write_text("from lensgate import Gate")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert f"ImportError: {script} is imported in place of Lensgate's package 'gate': rename it" in done.stderr


def test_a_package_of_the_caller_that_a_gate_does_not_need_is_no_error(tmp_path: Path) -> None:
    for name in ("service", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    done = subprocess.run([sys.executable, "-c", "from lensgate import Gate"], cwd=tmp_path, check=False)
    assert done.returncode == 0
