import base64
import io
import json

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gate import Card, Model, ModelError, ModelStore
from gate.card import GoldenSample
from gate.golden import check_golden
from gate.pixels import Pixels, read_pixels
from gate.scorer import CPU, CUDA, Scorer, Scores
from tests.conftest import ROOT
from tests.support.images import encode, flat
from tests.support.models import brightness_model


class Fake:
    """Says the same of every image, in the name of any provider."""

    def __init__(self, probability: float, novelty: float | None = None, provider: str = CPU) -> None:
        self.provider = provider
        self._probability, self._novelty = probability, novelty

    def score(self, images: Pixels) -> Scores:
        def each(value: float) -> NDArray[np.float32]:
            return np.full(len(images), value, np.float32)

        return Scores(each(self._probability), None if self._novelty is None else each(self._novelty))


def golden(probability: float = 0.2, novelty: float | None = None, *, png: bytes | None = None) -> GoldenSample:
    png = encode(flat(51, 32)) if png is None else png
    return GoldenSample(name="bare", png=base64.b64encode(png), glasses_probability=probability, novelty=novelty)


def card(*samples: GoldenSample) -> Card:
    return brightness_model(golden=samples).card


def test_a_model_with_the_scores_of_its_export_passes() -> None:
    model = brightness_model(golden=(golden(), golden(1.0, png=encode(flat(255, 32)))))
    check_golden(Scorer(model, device="cpu"), model.card)


def test_a_card_without_samples_passes_without_a_run() -> None:
    check_golden(None, card())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probability", "novelty", "provider"),
    [(0.2009, None, CPU), (0.209, None, CUDA), (0.2, -10.009, CPU), (0.2, 0.0009, CPU), (0.2, -10.09, CUDA)],
)
def test_rounding_differences_pass(probability: float, novelty: float | None, provider: str) -> None:
    expected = None if novelty is None else float(round(novelty))
    check_golden(Fake(probability, novelty, provider), card(golden(0.2, expected)))


@pytest.mark.parametrize(
    ("probability", "novelty", "provider", "named"),
    [
        (0.2011, -10.0, CPU, "glasses_probability was expected to be 0.2 and is 0.2011"),
        (0.211, -10.0, CUDA, "differ by more than 0.01"),
        (0.2, -10.02, CPU, "novelty was expected to be -10 and is -10.02"),
        (0.2, -10.2, CUDA, "differ by more than 0.1"),
        (0.2, None, CPU, "novelty was expected to be -10 and is nan"),
    ],
)
def test_larger_differences_are_refused(probability: float, novelty: float | None, provider: str, named: str) -> None:
    with pytest.raises(ModelError, match=f"'bare' .*{named}"):
        check_golden(Fake(probability, novelty, provider), card(golden(0.2, -10.0)))


@pytest.mark.parametrize("png", [b"", encode(flat(51, 32))[:60], encode(flat(51, 16))])
def test_a_sample_that_cannot_be_decoded_is_refused(png: bytes) -> None:
    with pytest.raises(ModelError, match="'bare' cannot be decoded"):
        check_golden(Fake(0.2), card(golden(png=png)))


def test_samples_are_in_the_card_as_base64_and_in_the_graph_too() -> None:
    sample = golden(novelty=1.5)
    model = brightness_model(golden=(sample,))
    (written,) = json.loads(model.card.model_dump_json())["golden"]
    assert base64.b64decode(written["png"], validate=True) == sample.png == encode(flat(51, 32))
    assert Card.parse(model.card.model_dump_json()) == model.card
    assert Scorer(model, device="cpu").size == 32


def test_a_sample_that_is_not_base64_is_refused() -> None:
    fields = json.loads(card(golden()).model_dump_json())
    fields["golden"][0]["png"] = "a"
    with pytest.raises(ModelError, match=r"golden\.0\.png"):
        Card.parse(json.dumps(fields))


def test_the_shipped_model_carries_drawn_samples_of_its_own_size() -> None:
    model = ModelStore(ROOT / "models").load("2")
    assert [sample.name for sample in model.card.golden] == ["none", "frames", "sunglasses", "faint"]
    for sample in model.card.golden:
        with Image.open(io.BytesIO(sample.png)) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (64, 64), "RGB")
    assert len(model.card.model_dump_json()) < 50_000
    check_golden(Scorer(model, device="cpu"), model.card)


def test_a_decoder_that_errs_by_one_level_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def brighter(png: bytes, size: int) -> Pixels:
        return np.minimum(read_pixels(png, size), 254) + np.uint8(1)

    model = ModelStore(ROOT / "models").load("2")
    monkeypatch.setattr("gate.golden.read_pixels", brighter)
    with pytest.raises(ModelError, match="'none' scores differently here than at export: novelty"):
        check_golden(Scorer(model, device="cpu"), model.card)


def test_a_model_from_before_there_were_samples_is_served_as_before() -> None:
    model = ModelStore(ROOT / "models").load("1")
    assert model.card.golden == ()
    check_golden(Scorer(model, device="cpu"), model.card)


def test_samples_that_were_changed_beside_the_graph_are_refused() -> None:
    model = brightness_model(golden=(golden(),))
    changed = model.card.model_copy(update={"golden": (golden(0.9),)})
    with pytest.raises(ModelError, match="differs from the card beside it"):
        Scorer(Model(changed, model.graph), device="cpu")
