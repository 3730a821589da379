"""The whole loop: a person judges the discarded images, and the next model learns from the verdicts."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import func, select

from gate import Label
from lensgate.cli import main
from service.records.tables import images
from tests.browser.browser import open_page, running_browser
from tests.browser.desk import shown
from tests.support.datasets import barred, write_dataset
from tests.support.images import encode
from tests.support.servers import Running, running_service, wait_until
from tests.support.unpacking import unpack
from training.data.dataset import Split, read_dataset
from training.data.records import Manifest, load_records
from training.model.train import load_fitted

COUNT = 50
UNCLEAR = 7
"""The one image of which the reviewer cannot tell."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """A service whose band discards every image."""
    with running_service(records_url=f"sqlite:///{tmp_path}/records.db", band_low=0.0, band_high=1.0) as running:
        yield running


def decide(service: Running) -> None:
    """Have every image discarded, and wait until all is kept."""
    for face in range(COUNT):
        body = encode(barred(face, glasses=is_with_glasses(face)))
        assert service.post(body, id=f"face-{face}.png").json()["decision"] == "discard"
    store = service.runtime.store
    assert store

    def kept() -> int:
        with store.begin() as connection:
            return connection.scalar(select(func.count()).select_from(images)) or 0

    wait_until(lambda: kept() == COUNT)


def is_with_glasses(face: int) -> bool:
    return face % 2 == 1


def review(page: Page) -> None:
    """Judge all of them, as the reviewer sees them, without a mouse."""
    page.goto("/review")
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type("Anna")
    page.keyboard.press("Enter")
    for face in range(COUNT):
        shown(page, f"face-{face}.png")
        page.keyboard.press("u" if face == UNCLEAR else "g" if is_with_glasses(face) else "n")
    expect(page.get_by_text("No discarded images are waiting for a verdict.")).to_be_visible()
    expect(page.locator("#saving")).to_be_hidden()


def export(service: Running, folder: Path) -> Path:
    (folder / "export.tar").write_bytes(service.client.get("/v1/review/dataset.tar").raise_for_status().content)
    with tarfile.open(folder / "export.tar") as tar:
        unpack(tar, folder)
    return folder / "reviewed"


def corrections(service: Running, ids: str) -> str:
    return service.client.get("/v1/review/corrections.csv", params={"ids": ids}).raise_for_status().text


def check_learned(folder: Path, work: Path) -> None:
    """Train on the exported folder, and return the training images."""
    records, run = work / "records", work / "run"
    steps = ["--records", str(records), "--seed", "0"]
    assert main(["train", "prepare", "--data", str(folder), "--size", "32", *steps]) == 0
    assert main(["train", "fit", "--run", str(run), "--preset", "paper", "--epochs", "2", *steps]) == 0
    learned = load_records(records, *Split)
    assert len(learned) == COUNT - 1
    # The reviewer calls a bar across the eyes glasses: it is darker than the rows below it.
    rows = learned.images.mean(axis=(2, 3))
    is_barred = rows[:, 11:15].mean(axis=1) < rows[:, 18:22].mean(axis=1) / 2
    np.testing.assert_array_equal(is_barred, learned.labels == 1)
    counted = Manifest.read(records).data[0].images
    assert sum(count[Label.GLASSES] for count in counted.values()) == COUNT // 2 - 1
    assert load_fitted(run).run.epochs == 2


def check_callers_set(service: Running, work: Path) -> None:
    """Apply the same verdicts to a data set with the requested labels, which the generator did not always follow."""
    asked = {face: int(is_with_glasses(face) != (face in (3, 20))) for face in range(COUNT)}
    folder = write_dataset(work / "set", asked)
    (folder / "corrections.csv").write_text(corrections(service, "caller"))
    found = {one.name: one.glasses for one in read_dataset(folder).train}
    assert found == {f"face-{face}": is_with_glasses(face) for face in range(COUNT) if face != UNCLEAR}


def check_second_thought(service: Running, folder: Path) -> None:
    """Change a verdict, and correct the earlier export."""
    changed = read_dataset(folder).train[0]
    said = {"verdict": "no_glasses" if changed.glasses else "glasses", "reviewer": "Anna"}
    record = changed.name.removeprefix("face-")
    service.client.put(f"/v1/review/verdicts/{record}", json=said).raise_for_status()
    (folder / "corrections.csv").write_text(corrections(service, "record"))
    assert {one.name for one in read_dataset(folder).train if one.glasses != one.given} == {changed.name}


def test_discarded_images_are_reviewed_exported_and_used_in_training(service: Running, tmp_path: Path) -> None:
    decide(service)
    with running_browser() as browser, open_page(browser, service.url) as page:
        review(page)
    folder = export(service, tmp_path)
    check_learned(folder, tmp_path)
    check_callers_set(service, tmp_path)
    check_second_thought(service, folder)
