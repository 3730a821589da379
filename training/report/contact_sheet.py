"""Write one self-contained page with the images of doubtful labels, most doubtful first, for review."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from gate import read_pixels
from gate.files import write_atomically
from gate.header import read_header
from training.data.dataset import CORRECTIONS_FILE, UNCLEAR
from training.data.image_folders import read_image_file
from training.evaluation.label_audit import PROPOSALS_FILE, Issue
from training.report.formatting import percent, words
from training.report.page import Html, code, document, element, paragraph

SHEET_FILE = "label_issues.html"
EDGE = 160
LARGEST_SHEET = 1000
"""Largest number of images on the page, about 5 kB each; more labels take several rounds of review."""

ImageKey = tuple[str, str]
"""Names of a data set and of an image in it."""

_STYLE = """
:root { --page: #f4f5f7; --card: #fefefe; --ink: #1f2430; --muted: #5d6675; --rule: #d8dde6; --glasses: #b04a02;
  --no-glasses: #0069a8; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12151b; --card: #1a1e26; --ink: #e6e9ef; --muted: #9aa4b4; --rule: #333a47; --glasses: #ff9350;
    --no-glasses: #62b5f2; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1.5rem 1rem 3rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.6rem; line-height: 1.2; }
p, ol { margin: 0 0 .6rem; max-width: 46rem; }
ol { padding-left: 1.4rem; }
code { font: .875em/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
header { margin: 0 0 1rem; padding: 1.25rem; border: 1px solid var(--rule); border-radius: .5rem;
  background: var(--card); }
header > :last-child { margin-bottom: 0; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; }
figure { margin: 0; overflow: hidden; border: 1px solid var(--rule); border-radius: .5rem; background: var(--card); }
img { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: cover; }
figcaption { padding: .45rem .6rem .55rem; font-size: .875rem; line-height: 1.4; }
figcaption div { display: flex; justify-content: space-between; gap: .5rem; }
figcaption div > :last-child { flex: none; }
figcaption span { color: var(--muted); font-variant-numeric: tabular-nums; }
figcaption b { color: var(--ink); }
figcaption .glasses { color: var(--glasses); }
figcaption .no_glasses { color: var(--no-glasses); }
@media (max-width: 40rem) {
  body { padding: .5rem .5rem 2rem; }
  header { padding: 1rem .75rem; }
  main { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: .5rem; }
}
"""


def write_contact_sheet(
    issues: Sequence[Issue], out: Path, *, images: Mapping[ImageKey, Path], audited: int, command: str
) -> Path:
    """Write `label_issues.html` with the first thousand of `issues`; return its path.

    Args:
        issues: most doubtful first.
        out: folder.
        images: the file of every image.
        audited: number of audited labels.
        command: command line of the audit.

    Raises:
        ImageError, OSError: an image can no longer be read.
    """
    shown = issues[:LARGEST_SHEET]
    several = len({one.data_set for one in issues}) > 1
    tiles = (
        _tile(place, one, images[one.data_set, one.name], several=several) for place, one in enumerate(shown, start=1)
    )
    head = element("header", *_head(len(issues), len(shown), audited), paragraph(code(command)))
    page = document("Doubtful labels", _STYLE, head, element("main", *tiles))
    write_atomically(out / SHEET_FILE, page.encode())
    return out / SHEET_FILE


def _head(issues: int, shown: int, audited: int) -> list[Html]:
    verb = "contradicts" if issues == 1 else "contradict"
    count = f"{issues:,} of {audited:,} labels ({percent(issues / audited)}) {verb} the image according to the audit"
    rest = f"; the worst {shown:,} are below." if shown < issues else "."
    return [
        element("h1", "Doubtful labels"),
        paragraph(count, rest),
        paragraph(
            "Most doubtful first. Each image has its given label, the label predicted by a network trained without "
            "the image, and a score: the probability of the given label according to that network. Networks make "
            "mistakes too, most often on thin frames, so review each label."
        ),
        element("ol", *(element("li", *step) for step in _steps())),
    ]


def _steps() -> list[tuple[str, ...]]:
    return [
        ("In ", code(PROPOSALS_FILE), " beside this page, delete the lines of labels that are correct."),
        ("If the image is unclear, write ", code(UNCLEAR), ": the image is left out."),
        (
            *("Append the remaining lines to ", code(CORRECTIONS_FILE), " beside train.csv of the data set. "),
            "All later steps apply the corrections; train.csv itself is not changed.",
        ),
    ]


def _tile(place: int, issue: Issue, image: Path, *, several: bool) -> Html:
    title = f"{issue.data_set} {issue.number}" if several else issue.number
    picture = Html(f'<img src="{_data_uri(image)}" alt="" width="{EDGE}" height="{EDGE}">')
    caption = element(
        "figcaption",
        _line(element("b", title), f"#{place}"),
        _line("given", words(issue.given)),
        _line("predicted", element("b", words(issue.suggested), class_=issue.suggested)),
        _line("score", percent(issue.score)),
    )
    return element("figure", picture, caption)


def _line(left: str, right: str) -> Html:
    return element("div", element("span", left), element("span", right))


def _data_uri(image: Path) -> str:
    data = read_image_file(image)
    edge = min(EDGE * 2, read_header(data).width)
    shrunk = Image.fromarray(read_pixels(data, edge)).resize((EDGE, EDGE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    shrunk.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
