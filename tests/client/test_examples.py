"""The examples, with stubs for PyTorch."""

import copy
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, TypeVar

import httpx
import lensgate_client
import numpy as np
import pytest
from lensgate_client import Gate, GateFilter, GaveUp
from PIL import Image

from tests.client.support import NO_TLS
from tests.conftest import ROOT
from tests.support.images import encode, flat
from tests.support.servers import Running

EXAMPLES = ROOT / "client/examples"
_Sample = TypeVar("_Sample")


class Dataset(Generic[_Sample]):
    """Stub of both data set classes of torch.utils.data."""


@pytest.fixture
def gate(service: Running) -> Iterator[Gate]:
    with Gate(service.url, transport=httpx.HTTPTransport(verify=NO_TLS)) as gate:
        yield gate


def example(name: str, monkeypatch: pytest.MonkeyPatch, **modules: Any) -> ModuleType:
    """Import an example with stubs of these modules."""
    for module, members in modules.items():
        monkeypatch.setitem(sys.modules, module.replace("_", "."), SimpleNamespace(**members))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, loaded)
    spec.loader.exec_module(loaded)
    return loaded


def batches() -> Iterator[Any]:
    """Yield batches in the format of StyleGAN: bright, uncertain, dark."""
    while True:
        yield np.stack([np.full((3, 64, 64), value, np.float32) for value in (0.98, 0.0, -0.98)])


def test_stylegan_example_saves_accepted_images(gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stylegan = example("stylegan", monkeypatch, dnnlib={}, legacy={}, torch={"Tensor": ()})
    saved: dict[int, Any] = {}
    stats = stylegan.keep(gate, batches(), saved.__setitem__, count=5, expected="no_glasses")
    assert sorted(saved) == list(range(5))
    assert all(image.shape == (3, 64, 64) and image.dtype == np.uint8 and image.max() == 3 for image in saved.values())
    assert stats.accepted == 5
    assert stats.discarded == {"uncertain": 5, "contradicted": 5}
    with pytest.raises(GaveUp):
        stylegan.keep(gate, batches(), saved.__setitem__, count=500, expected="no_glasses", max_reject_ratio=0.5)
    # permute of torch corresponds to transpose of NumPy.
    tensor = SimpleNamespace(permute=lambda *axes: SimpleNamespace(cpu=lambda: tensor_of(saved[0].transpose(axes))))
    save = stylegan.save_png(tmp_path / "out")
    save(7, tensor)
    with pytest.raises(FileExistsError, match=r"face-000007\.png"):
        save(7, tensor)
    with Image.open(tmp_path / "out/face-000007.png") as file:
        assert np.array_equal(np.asarray(file), saved[0].transpose(1, 2, 0))


def tensor_of(array: Any) -> Any:
    return SimpleNamespace(numpy=lambda: array)


@pytest.mark.parametrize(("workers", "shares"), [(None, [[0, 2, 3, 5]]), (2, [[0, 2], [3, 5]])])
def test_data_set_yields_the_accepted_samples_of_each_worker(
    service: Running, monkeypatch: pytest.MonkeyPatch, *, workers: int | None, shares: list[list[int]]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    faces = [(flat(level), number) for number, level in enumerate([250, 128, 5, 250, 128, 5])]
    worker = SimpleNamespace(id=0, num_workers=workers)
    members = {"Dataset": Dataset, "IterableDataset": Dataset, "get_worker_info": lambda: worker if workers else None}
    loader = example("torch_loader", monkeypatch, torch_utils_data=members)
    # Each worker receives a copy.
    accepted = copy.deepcopy(loader.Accepted(faces, service.url, max_reject_ratio=0.9))
    for number, share in enumerate(shares):
        worker.id = number
        assert [label for _, label in accepted] == share
    bare = loader.Accepted([image for image, _ in faces], service.url, expected="no_glasses")
    worker.id = 0
    assert all(image.max() == 5 for image in bare)


def test_examples_of_the_pages_run(
    service: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.png").write_bytes(encode(flat(250)))
    pages = [(ROOT / name).read_text() for name in ("client/README.md", "docs/reference/client.md")]
    text = "".join(pages).replace("http://127.0.0.1:8000", service.url)
    quick, filtering, both, drawing = re.findall(r"```python\n(.*?)```", text.replace("1000", "60"), re.DOTALL)
    saved: list[Any] = []
    exec(quick, {})  # noqa: S102 - our own text
    exec(filtering, {"generate": lambda: flat(250), "save": saved.append})  # noqa: S102
    assert len(saved) == 60
    sorted_into: list[tuple[str, str]] = []

    def save(_image: Any, stream: str, outcome: Any) -> None:
        sorted_into.append((stream, outcome.reason))

    generators = {"generate": lambda: flat(250), "seeds": range(3), "generate_seed": lambda *_: flat(250)}
    exec(both, {"kept": GateFilter(gate), "save": save, **generators})  # noqa: S102
    assert sorted_into == [("accepted", "confident")] * 60
    names = {name: getattr(lensgate_client, name) for name in lensgate_client.__all__}
    drawn: dict[int, Any] = {}
    exec(drawing, {**names, "gate": gate, "batches": batches(), "save": drawn.__setitem__})  # noqa: S102
    assert sorted(drawn) == list(range(60))
    assert all(image.shape == (3, 64, 64) and image.min() == 252 for image in drawn.values())
    answered, stats, *orders = capsys.readouterr().out.splitlines()
    assert orders == ["0 True 1", "1 True 1", "2 True 1"]
    assert answered.startswith("True confident 0.98")
    assert stats == "60 of 60 images accepted"
