"""The dashboards and the names in their queries, as the tests ask for them."""

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from .tools import ROOT

__all__ = ["BOARDS", "FOLDER", "Query", "fill", "names", "panels", "queries", "read_board", "variables"]

FOLDER = ROOT / "deploy/grafana/dashboards"
BOARDS = ("lensgate", "models")
"""Those that ask Prometheus; the third shows the runbooks."""

# Grafana fills these in itself: at least four scrapes for the first, the range on screen for the last.
_BUILT_IN = {"__rate_interval": "1m", "__interval": "5s", "__range": "5m"}


@dataclass(frozen=True)
class Query:
    board: str
    panel: str
    ref: str
    expr: str
    legend: str
    instant: bool
    exemplar: bool = False

    def __str__(self) -> str:
        return f"{self.board}: {self.panel} {self.ref}"


@cache
def read_board(name: str) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return board


def panels(name: str) -> list[dict[str, Any]]:
    """Every panel of a dashboard that shows something; a row only groups them."""
    return [panel for panel in read_board(name)["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Queries of the panels and annotations of every dashboard."""
    found = []
    for board in BOARDS:
        for panel in panels(board):
            found += [
                Query(
                    board,
                    panel["title"],
                    target["refId"],
                    target["expr"],
                    target["legendFormat"],
                    target["instant"],
                    target.get("exemplar", False),
                )
                for target in panel["targets"]
            ]
        found += [
            Query(board, note["name"], "annotation", note["expr"], note["titleFormat"], instant=False)
            for note in read_board(board)["annotations"]["list"]
        ]
    return found


def variables(board: str) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in read_board(board)["templating"]["list"]}


def fill(expr: str, board: str) -> str:
    """A query as Grafana sends it when every choice stands at All."""
    values = {name: variable["allValue"] for name, variable in variables(board).items() if "allValue" in variable}
    return re.sub(r"\$(?:\{(\w+)}|(\w+))", lambda match: (_BUILT_IN | values)[match[1] or match[2]], expr)


def names(expr: str) -> set[str]:
    """The metrics and recorded series that an expression names."""
    words = re.findall(r"[a-zA-Z_:][\w:]*", re.sub(r'"[^"]*"', "", expr))
    return {word for word in words if word.startswith("lensgate_") or ":lensgate_" in word}
