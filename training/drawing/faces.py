"""A data set of drawn faces on disk, in the layout of Kaggle's *Glasses or No Glasses*."""

import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from gate.cores import usable_cores
from gate.files import write_atomically
from training.data.csv_table import csv_text
from training.data.dataset import PROVENANCE_FILE, Provenance
from training.data.progress import progress_bar
from training.drawing.eyewear import Eyewear
from training.drawing.portrait import draw_face
from training.errors import DataError

IMAGES = Path("faces-spring-2020", "faces-spring-2020")
TABLE = "train.csv"
ABOUT = Provenance(source="drawn by `lensgate train draw`: nobody's picture", licence="MIT, as this project")
COLUMNS = ("id", "glasses", "eyewear")
SHARES = {Eyewear.NONE: 0.5, Eyewear.FRAMES: 0.27, Eyewear.SUNGLASSES: 0.13, Eyewear.FAINT: 0.1}
COMPRESSION = 3  # Of PNG: 6, the default, takes twice as long on noise and saves a hundredth.


def choose_eyewear(rng: np.random.Generator) -> Eyewear:
    """Draw a kind of eyewear with the probabilities of `SHARES`; takes one number from the generator."""
    return list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]


def face_generator(seed: int, face_id: int) -> np.random.Generator:
    """Create the random generator of one face, which depends only on seed and id."""
    return np.random.default_rng([seed, face_id])


def draw_faces(
    out: Path,
    count: int,
    *,
    seed: int = 0,
    first_id: int = 1,
    progress: bool = False,
    workers: int | None = None,
    size: int = 1024,
) -> None:
    """Draw `count` faces into `out`: images by id, and `train.csv` with `id,glasses,eyewear`.

    A face depends on `seed` and its id alone. The table is written last, atomically, and an old table is deleted first,
    so a folder with a table is a complete data set. `workers` defaults to all cores; 1 draws in this process. More
    workers start new interpreters, so a script that calls this needs `if __name__ == "__main__"`.

    Raises:
        DataError: `count` or `workers` is below 1, or `seed` or `first_id` is negative.
    """
    _check(count, seed=seed, first_id=first_id, workers=workers)
    _check_folder(out)
    images = out / IMAGES
    # First, so that an interrupted command finds its own folder again.
    write_atomically(out / PROVENANCE_FILE, _about())
    images.mkdir(parents=True, exist_ok=True)
    (out / TABLE).unlink(missing_ok=True)
    ids = range(first_id, first_id + count)
    draw = partial(_draw_one, images, seed, size)
    workers = min(count, workers or usable_cores())
    drawn = progress_bar(
        _mapped(draw, ids, workers=workers), total=count, title="draw", unit="face", hidden=not progress
    )
    kinds = list(drawn)
    _write_table(out / TABLE, zip(ids, kinds, strict=True))


def _check(count: int, *, seed: int, first_id: int, workers: int | None) -> None:
    if count < 1:
        raise DataError(f"count is {count}, but a data set has at least 1 face")
    if workers is not None and workers < 1:
        raise DataError(f"workers is {workers}, but drawing takes at least 1 process")
    if seed < 0 or first_id < 0:
        raise DataError(f"seed is {seed} and first_id is {first_id}, but neither may be negative")


def _check_folder(out: Path) -> None:
    """Refuse to overwrite images or labels that were not drawn."""
    about, images = out / PROVENANCE_FILE, out / IMAGES
    drawn = about.is_file() and about.read_bytes() == _about()
    if not drawn and (about.exists() or (out / TABLE).exists() or (images.is_dir() and any(images.iterdir()))):
        raise DataError(f"{out} holds a data set that was not drawn: draw into another folder")


def _about() -> bytes:
    return ABOUT.model_dump_json(indent=2).encode()


def _mapped(draw: Callable[[int], Eyewear], ids: Iterable[int], *, workers: int) -> Iterator[Eyewear]:
    if workers == 1:
        yield from map(draw, ids)
        return
    # Pillow holds the GIL while it draws, so that threads would not help; a forked copy of a process that has
    # threads, as TensorFlow's has, may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        yield from pool.map(draw, ids)


def _end_with_parent() -> None:
    """Leave signals to the parent, and end this worker with it, even if it is killed: otherwise it waits forever."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw_one(images: Path, seed: int, size: int, face_id: int) -> Eyewear:
    rng = face_generator(seed, face_id)
    eyewear = choose_eyewear(rng)
    face = draw_face(rng, eyewear, size=size)
    png = io.BytesIO()
    face.save(png, format="PNG", compress_level=COMPRESSION)
    write_atomically(images / f"face-{face_id}.png", png.getvalue())
    return eyewear


def _write_table(table: Path, faces: Iterable[tuple[int, Eyewear]]) -> None:
    rows = ((face_id, int(kind is not Eyewear.NONE), kind.value) for face_id, kind in faces)
    write_atomically(table, csv_text([COLUMNS, *rows]).encode())
