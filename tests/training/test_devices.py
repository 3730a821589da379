"""Several devices train the same network as one; two CPUs stand in for two GPUs."""

import json
import multiprocessing
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.datasets import barred
from training.data.records import Records
from training.model import train as fit
from training.model.preset import Preset
from training.model.train import predict_logits, train_network

BATCH = 16
FINISHED = 300  # seconds, at most


def records(count: int) -> Records:
    labels = np.arange(count) % 2
    images = np.stack([barred(face, bool(label), 32) for face, label in enumerate(labels)])
    return Records(images, labels.astype(np.float32), *[("",) * count] * 3)


def train_on_both_and_on_one(out: Path) -> None:
    """Has a process to itself: TensorFlow takes its devices once."""
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    # In batches of 16 the last of the validation split would be one image, and the second device would have none.
    everything = records(150)
    train, validation = everything.select(np.arange(101)), everything.select(np.arange(101, 150))
    preset = Preset(size=32, filters=(4,), dropout=0.0, epochs=2, batch_size=BATCH)
    replicas = []

    def fitted(state: Path | None) -> dict[str, object]:
        trained = train_network(train, validation, preset=preset, seed=1, state=state)
        replicas.append(trained.network.distribute_strategy.num_replicas_in_sync)
        return {"history": trained.history, "logits": list(predict_logits(trained.network, everything.images))}

    both, resumed = fitted(out / "state.npz"), fitted(out / "state.npz")
    first, *_ = tf.config.list_logical_devices("CPU")
    tf.config.list_logical_devices = lambda kind: [first] if kind == "CPU" else []
    text = json.dumps({"both": both, "resumed": resumed, "one": fitted(None), "replicas": replicas})
    (out / "found.json").write_text(text)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("devices")
    process = multiprocessing.get_context("spawn").Process(target=train_on_both_and_on_one, args=(out,))
    process.start()
    process.join(FINISHED)
    assert process.exitcode == 0
    answer: dict[str, Any] = json.loads((out / "found.json").read_text())
    return answer


def test_two_devices_learn_as_one(found: dict[str, Any]) -> None:
    assert found["replicas"] == [2, 2, 1]
    for name, values in found["one"]["history"].items():
        assert found["both"]["history"][name] == pytest.approx(values, abs=1e-4), name
    assert found["both"]["logits"] == pytest.approx(found["one"]["logits"], abs=1e-4)


def test_two_devices_go_on_from_their_state(found: dict[str, Any]) -> None:
    assert found["resumed"] == found["both"]


@pytest.mark.parametrize(
    ("count", "largest", "devices", "size"),
    [
        (49, 16, 1, 16),
        (10, 16, 1, 10),
        (48, 16, 2, 16),
        (49, 16, 2, 10),
        (57, 16, 2, 16),
        (5, 16, 4, 4),
        (300, 256, 2, 198),
    ],
)
def test_the_last_batch_leaves_no_device_without_an_image(count: int, largest: int, devices: int, size: int) -> None:
    assert fit._even_size(count, largest=largest, devices=devices) == size


@pytest.mark.parametrize(("batch", "devices"), [(32, 2), (15, 1), (1, 1)])
def test_a_batch_is_divided_evenly_or_not_at_all(batch: int, devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = ["one"]

    class Strategy:
        def __init__(self, names: list[str]) -> None:
            taken[:] = names

        def scope(self) -> nullcontext[None]:
            return nullcontext()

    two = [tf.config.LogicalDevice(f"/device:GPU:{index}", "GPU") for index in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _: two)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", Strategy)
    fit._devices(batch)
    assert len(taken) == devices
