"""Write dashboards/runbooks.json from docs/runbooks.md, so that an alert's runbook can be read beside its panels."""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "docs/runbooks.md"
TARGET = HERE / "dashboards/runbooks.json"
UID = "lensgate-runbooks"
HEIGHT = 14


def render(source: Path = SOURCE) -> str:
    """Return a dashboard with a text panel for each section; the first holds the introduction and lists the others."""
    preface, *parts = re.split(r"^## (.+)$\n", source.read_text(), flags=re.MULTILINE)
    title, _, preface = preface.removeprefix("# ").partition("\n")
    sections = [(title, preface), *zip(parts[::2], parts[1::2], strict=True)]
    # As Markdown makes an anchor of a heading: ours are single words.
    places = {name.lower(): number for number, (name, _) in enumerate(sections, 1)}
    # A link from outside names a section by its anchor, which Grafana ignores: it shows the first panel.
    sections[0] = title, ", ".join(f"[{name}](#{name.lower()})" for name, _ in sections[1:]) + f"\n{preface}"
    panels = [_panel(number, name, _link(text, places)) for number, (name, text) in enumerate(sections, 1)]
    board: dict[str, Any] = {
        "uid": UID,
        "title": "Lensgate: runbooks",
        "description": "One section for each alert. Generated from docs/runbooks.md by deploy/grafana/runbooks.py.",
        "id": None,
        "tags": ["lensgate"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "annotations": {"list": []},
        "templating": {"list": []},
        "timepicker": {"hidden": True},
        "links": [{"title": "Overview", "type": "link", "url": "/d/lensgate", "icon": "dashboard"}],
        "panels": panels,
    }
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def _panel(number: int, title: str, text: str) -> dict[str, Any]:
    return {
        "id": number,
        "type": "text",
        "title": title,
        "gridPos": {"h": HEIGHT, "w": 24, "x": 0, "y": HEIGHT * (number - 1)},
        "options": {"mode": "markdown", "content": text.strip() + "\n"},
    }


def _link(text: str, places: dict[str, int]) -> str:
    """Point links between sections to their panels; Grafana has no other page of docs/, so that its path is left."""
    text = re.sub(r"\(#([\w-]+)\)", lambda found: f"(/d/{UID}?viewPanel=panel-{places[found[1]]})", text)
    return re.sub(r"\[[^]]*]\(([\w/-]+\.md)(?:#[\w-]+)?\)", r"`docs/\1`", text)


if __name__ == "__main__":
    TARGET.write_text(render())
