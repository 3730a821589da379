"""The generated files and the pages with generated blocks."""

from pathlib import Path

from docs.generate import layers, model, schema, service, throughput
from docs.generate.markdown import blocks_of, fill

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def blocks() -> dict[str, str]:
    """Return every generated block by its name."""
    card = model.current_card()
    return {
        "card": schema.card(),
        "codes": service.codes(),
        "metrics": service.metrics(),
        "model-novelty": model.novelty(card),
        "model-promise": model.promise(card),
        "model-splits": model.splits(card),
        "operations": service.operations(v2=False),
        "settings": schema.settings(),
        "throughput": throughput.throughput_table(throughput.read()),
        "v2-operations": service.operations(v2=True),
    }


def generated_files() -> dict[Path, str]:
    """Return the content of each generated picture, and of each page that has a generated block."""
    texts = blocks()
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
    return {
        DOCS / "images/layers.svg": layers.layers(),
        DOCS / "images/throughput.svg": throughput.chart(throughput.read()),
        **{path: fill(text, texts) for path, text in pages.items() if blocks_of(text)},
    }
