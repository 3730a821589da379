"""Take the screenshots in `docs/`: a service with drawn faces, fifteen minutes compressed into one.

    python -m bench.screenshots docs/screenshots

The decisions are those of the shipped model, on drawn faces; only the time between them is simulated.
"""

import argparse
import io
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, Page
from sqlalchemy import delete, insert
from starlette.types import ASGIApp, Receive, Scope, Send

from gate import Label, ModelStore
from service.inference.model_loading import load_model
from service.pages.history import STEPS
from service.pages.routes import make_page_routes
from service.pages.sampler import STEP_SECONDS, Sampler
from service.records.tables import STEP_SECONDS as COUNTED_SECONDS
from service.records.tables import outcomes
from service.runtime import Runtime, build_runtime
from service.server import Server
from service.settings import Settings
from tests.browser.browser import running_browser
from training.drawing import Eyewear, choose_eyewear, draw_face

FACES = 120
SIZE = 512
SOURCES = ("run-41", "run-42")
WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
_LIMIT = 200_000

_WHOLE = {"operations": WIDTHS, "decision": WIDTHS, "review": WIDTHS[:1], "review-grid": WIDTHS[:1]}
"""Widths at which a picture shows the whole page, not only the visible part: without long lists, and without bars that
keep their place on the screen."""

# Images below the visible part are lazy, and would not load before the page is scrolled to them.
_DECODE = """Promise.allSettled([...document.images].map((image) => {
    image.loading = "eager";
    return image.decode();
}))"""


@dataclass
class SimulatedClock:
    """A simulated clock for the sampler: every step counts its full time but passes at once."""

    left: int = STEPS

    @property
    def behind(self) -> float:
        """Seconds that the clock still lags."""
        return self.left * STEP_SECONDS

    def clock(self) -> float:
        """Monotonic seconds."""
        return time.monotonic() - self.behind

    def wall(self) -> float:
        """Seconds since 1970; equal to real time at the end."""
        return time.time() - self.behind


@dataclass(frozen=True)
class DrawnFace:
    """A generated image and the requested label."""

    name: str
    picture: Image.Image
    expected: Label
    source: str

    @cached_property
    def body(self) -> bytes:
        """Encode as JPEG."""
        buffer = io.BytesIO()
        self.picture.save(buffer, "JPEG", quality=92)
        return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, fill and photograph; 1 if a picture came out too large for a repository."""
    options = _parser().parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    pace = SimulatedClock()
    with tempfile.TemporaryDirectory() as scratch, _serving(Path(scratch), pace) as (url, sampler, runtime):
        print(f"drawing {FACES} faces")
        faces = [_draw(number) for number in range(FACES)]
        print("sending them")
        _send(url, faces, sampler=sampler, runtime=runtime, pace=pace)
        sizes = [path.stat().st_size for path in _photograph(url, options.folder, faces[0])]
    return int(max(sizes) > _LIMIT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder for the screenshots")
    return parser


@contextmanager
def _serving(folder: Path, pace: SimulatedClock) -> Iterator[tuple[str, Sampler, Runtime]]:
    settings = Settings(port=0, records_url=f"sqlite:///{folder / 'records.db'}", audit_ratio=0.05, log_level="error")
    runtime = build_runtime(settings, load_model(ModelStore(settings.models), settings))
    server = Server(settings, runtime)
    sampler = Sampler(runtime, seconds=3600, clock=pace.clock, wall=pace.wall)
    inner: Any = server.config.app
    server.config.app = _with_sampler(inner, sampler)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.url, sampler, runtime
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join()


def _with_sampler(inner: ASGIApp, sampler: Sampler) -> ASGIApp:
    """The app, with a sampler on simulated time."""
    site = FastAPI()
    site.include_router(make_page_routes(sampler))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and scope["path"] == "/v1/operations"
        await (site if is_ours else inner)(scope, receive, send)

    return app


def _draw(number: int) -> DrawnFace:
    """Draw a face; a tenth are spoiled, and a tenth have the wrong label."""
    rng = np.random.default_rng([2026, number])
    eyewear = choose_eyewear(rng)
    picture = draw_face(rng, eyewear, size=SIZE)
    if number % 10 == 7:
        picture = _spoil(picture, rng)
    wears = eyewear is not Eyewear.NONE
    expected = wears != (number % 10 == 3)
    return DrawnFace(f"gan-{number:05}", picture, Label.GLASSES if expected else Label.NO_GLASSES, SOURCES[number % 2])


def _spoil(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Spoil a face like a collapsed generator: half a face, or upside down."""
    if rng.random() < 0.5:
        return picture.transpose(Image.Transpose.ROTATE_180)
    half = picture.copy()
    half.paste((20, 20, 24), (0, SIZE // 2, SIZE, SIZE))
    return half


def _send(url: str, faces: Sequence[DrawnFace], *, sampler: Sampler, runtime: Runtime, pace: SimulatedClock) -> None:
    """A wave of traffic over the whole history. Most images are accepted; the discarded ones come in a burst."""
    rng = np.random.default_rng(1)
    counts: Counter[tuple[int, str, str, str]] = Counter()
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        kept = [face for face in faces if _post(client, face)["decision"] == "accept"]
        for step in range(STEPS):
            everything = 0.6 if 95 < step < 110 else 0.1
            for _ in range(int(rng.poisson(6 + 4 * np.sin(step / 23)))):
                pool = faces if rng.random() < everything else kept
                answer = _post(client, pool[int(rng.integers(len(pool)))])
                second = int(pace.wall())
                counted = (second - second % COUNTED_SECONDS) * 10**6
                counts[counted, answer["model"]["version"], answer["label"], answer["reason"]] += 1
            pace.left -= 1
            sampler.sample(runtime.metrics_of_all.own())
        while client.get("/v1/operations").json()["records"]["written"] < len(faces) + counts.total():
            time.sleep(0.1)
    _spread(runtime, counts)


def _spread(runtime: Runtime, counts: Counter[tuple[int, str, str, str]]) -> None:
    """Count the decisions at their simulated times; the recorder counted all in the minute that they took."""
    store = runtime.store
    if store is None:
        raise RuntimeError("the service has no records")
    with store.begin() as connection:
        connection.execute(delete(outcomes))
        names = ("step", "version", "label", "reason", "images")
        rows = [dict(zip(names, (*key, images), strict=True)) for key, images in counts.items()]
        connection.execute(insert(outcomes), rows)


def _post(client: httpx.Client, face: DrawnFace) -> dict[str, Any]:
    query = {"id": face.name, "expected": face.expected.value, "source": face.source}
    answer = client.post("/v1/decisions", content=face.body, params=query).raise_for_status()
    decision: dict[str, Any] = answer.json()
    return decision


def _photograph(url: str, folder: Path, face: DrawnFace) -> Iterator[Path]:
    shots: dict[str, Callable[[Page], None]] = {
        "operations": partial(_show_operations, face=face),
        "decisions": _show_decisions,
        "decision": _show_decision,
        "review": _show_review,
        "review-grid": _show_grid,
    }
    with running_browser() as browser:
        for (name, show), width, scheme in product(shots.items(), WIDTHS, SCHEMES):
            path = folder / f"{name}-{width}-{scheme}.png"
            page = _open(browser, url, width=width, scheme=scheme)
            show(page)
            page.evaluate(_DECODE)
            page.screenshot(path=path, full_page=width in _WHOLE.get(name, ()))
            page.context.close()
            _shrink(path)
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
            yield path


def _open(browser: Browser, url: str, *, width: int, scheme: Any) -> Page:
    viewport: Any = {"width": width, "height": 900}
    return browser.new_context(base_url=url, viewport=viewport, color_scheme=scheme).new_page()


def _show_operations(page: Page, face: DrawnFace) -> None:
    page.goto("/")
    page.set_input_files("#file", {"name": f"{face.name}.jpg", "mimeType": "image/jpeg", "buffer": face.body})
    for selector in (".verdict-body", ".thumb img", "#stages svg"):
        page.wait_for_selector(selector)


def _show_decisions(page: Page) -> None:
    page.goto("/decisions?decision=discard")
    page.wait_for_selector("#results img")


def _show_decision(page: Page) -> None:
    _show_decisions(page)
    page.locator("#results a[href^='/decisions/']").first.click()
    page.wait_for_selector("main img")


def _show_review(page: Page) -> None:
    page.goto("/review")
    page.get_by_label("Your name").fill("Anna")
    page.keyboard.press("Enter")
    page.get_by_role("img", name="Portrait for review").wait_for()


def _show_grid(page: Page) -> None:
    _show_review(page)
    page.keyboard.press("2")
    page.wait_for_selector(".tile img")


def _shrink(path: Path) -> None:
    """Pages have few colours: a palette takes a third of the bytes."""
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
