from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.browser import running_browser
from tests.browser.panel import BRIGHT, DARK, GREY
from tests.support.images import encode
from tests.support.servers import Running, running_service, wait_until


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all these tests; each opens pages of its own with `open_page`."""
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that has decided about some images and recorded them, two of five as uncertain or contradicted."""
    database = tmp_path_factory.mktemp("records") / "records.db"
    with running_service(records_url=f"sqlite:///{database}") as service:
        for index in range(50):
            service.post(encode((BRIGHT, DARK, GREY)[index % 3]), id=f"face-{index}")
            service.post(encode(DARK), id=f"ordered-{index}", expected="no_glasses" if index % 10 else "glasses")
        images = 16 + 5
        wait_until(lambda: service.metric("lensgate_record_images_total", result="written") == images)
        yield service


@pytest.fixture(scope="module")
def idle() -> Iterator[Running]:
    """A service without decisions and without records."""
    with running_service() as service:
        yield service
