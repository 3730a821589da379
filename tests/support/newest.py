"""Pytest plugin of `make test-newest`: the installed uvicorn counts as tested, so that the adapter's tests use it."""

import uvicorn

from service.http import uvicorn_adapter

_major, _minor, *_ = uvicorn.__version__.split(".")
uvicorn_adapter.TESTED = (int(_major), int(_minor))
