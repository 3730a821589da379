from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.browser import running_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module; each opens pages of its own with `open_page`."""
    with running_browser() as running:
        yield running
