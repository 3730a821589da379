"""Responses shared by several endpoints: JSON, and the rows of tables."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from fastapi import Response


def json_response(body: object) -> Response:
    """Return JSON without validating it again."""
    return Response(orjson.dumps(body), media_type="application/json")


def write_table(
    head: Sequence[str], pages: Iterable[Iterable[Iterable[Any]]], *, line_end: str = "\r\n"
) -> Iterator[str]:
    """Generate CSV, one part per page of rows; the first part includes the header."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator=line_end)
    table.writerow(head)
    for rows in pages:
        table.writerows(rows)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
