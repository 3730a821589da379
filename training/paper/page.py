"""Write `paper.md`, its charts, and the results that all its figures come from."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gate.files import write_atomically
from training.figures import as_png
from training.paper import conclusions, published, tables
from training.paper.charts import charts
from training.paper.results import KINDS, RESULTS_FILE, PaperResults

PAGE_FILE = "paper.md"
FOLDER = "paper"
DPI = 130
"""Sharp on a phone at the width of the page, and some 30 kB a chart."""

_CHARTS: Mapping[str, str] = {
    "resolution-accuracy": "Validation accuracy by resolution",
    "batch-size-accuracy": "Validation accuracy by batch size",
    "models-accuracy": "Test accuracy of each model",
    "models-log-loss": "Test log loss of each model",
    "overfitting": "Loss of the untuned network on flipped labels",
}


def write_page(results: PaperResults, out: Path) -> bool:
    """Write the page to `out`, charts and results to its folder `paper`; return whether the page has changed."""
    folder, page = out / FOLDER, out / PAGE_FILE
    text = render(results)
    kept = folder / RESULTS_FILE
    if page.is_file() and page.read_text() == text and kept.is_file() and PaperResults.read(kept) == results:
        return False
    for name, figure in charts(results).items():
        write_atomically(folder / f"{name}.png", as_png(figure, dpi=DPI))
    results.write(kept)
    write_atomically(page, text.encode())
    return True


def render(results: PaperResults) -> str:
    """Return the page; every figure on it comes from `results` or from `training/paper/published.py`."""
    return "\n\n".join(part for section in _sections(results) for part in section) + "\n"


def _sections(results: PaperResults) -> Iterator[list[str]]:
    yield _introduction(results)
    yield _what_follows(results)
    yield _resolution(results)
    yield _batch_size(results)
    yield _tuning(results)
    yield _models(results)
    yield _files(results)
    yield _setup(results)


def _introduction(results: PaperResults) -> list[str]:
    plan = results.plan
    unfinished = results.unfinished()
    parts = [
        "# The paper at full length",
        "A. Schiavone's *Binary Classification of GAN-generated High-Resolution Images via Convolutional Neural "
        "Networks* (Università Statale di Milano, September 2021) compares resolutions, batch sizes and three models, "
        "each in one run, on images of which a ninth has a wrong label. `make paper` repeats its experiments with "
        f"{plan.seeds} seeds on other faces, twice: with the labels as they are, and with {100 * plan.share:.1f} % of "
        "them flipped, for training as well as for measuring, like the paper's.",
        f"`lensgate train paper` writes this page from `docs/{FOLDER}/{RESULTS_FILE}`. Brackets are 95 % t-intervals "
        "of the mean over the seeds; the standard error of a small split comes on top and is stated with each table.",
    ]
    if unfinished:
        parts += ["**Not finished**, and continued by the same command:", "\n".join(f"- {one}" for one in unfinished)]
    return parts


def _what_follows(results: PaperResults) -> list[str]:
    return [
        "## What follows",
        "### The paper measures its labels",
        *conclusions.paper_floor(),
        *conclusions.paper_differences(),
        "### The same on these faces",
        *conclusions.our_floor(results),
        *conclusions.tuned_or_not(results),
        "Differences between values, tested by a t test paired by seed with Holm's correction:",
        "\n".join(conclusions.our_differences(results)),
    ]


def _resolution(results: PaperResults) -> list[str]:
    epochs = results.settings["untuned"]["epochs"]
    return [
        "## Resolution",
        f"The untuned network, {epochs} epochs, validation accuracy. {conclusions.precision(results, 'resolution')}",
        tables.resolution_table(results),
        *_chart(results, "resolution-accuracy"),
    ]


def _batch_size(results: PaperResults) -> list[str]:
    return [
        "## Batch size",
        f"The final network, tuned learning rate of {results.plan.first_trials} trials, with early stopping, "
        f"validation accuracy. {conclusions.precision(results, 'batch-size')}",
        tables.batch_size_table(results),
        *_chart(results, "batch-size-accuracy"),
        "Mean elapsed time of a run and its mean number of epochs. The load of the machine changed between runs, so a "
        "longer time need not mean more work.",
        tables.times_table(results),
    ]


def _tuning(results: PaperResults) -> list[str]:
    search = results.settings["search"]
    return [
        "## Tuning",
        f"Keras Tuner's random search, from the untuned network at {search['size']} x {search['size']}: at most "
        f"{search['epochs']} epochs a trial, the first trial is untuned, the best by validation log loss wins. The "
        f"paper tried {published.TRIALS} combinations; the longer search continues the shorter one.",
        tables.tuning_table(results),
    ]


def _models(results: PaperResults) -> list[str]:
    final = results.settings["final"]
    return [
        "## Models on the test split",
        f"Each model is trained anew: the untuned one for {results.settings['untuned']['epochs']} epochs, a tuned "
        f"one for at most {final['epochs']}, stopped {final['patience']} epochs after the best validation loss. "
        f"{conclusions.precision(results, 'models')}",
        "Accuracy:",
        tables.model_table(results, "accuracy"),
        *_chart(results, "models-accuracy"),
        "Log loss:",
        tables.model_table(results, "log_loss"),
        *_chart(results, "models-log-loss"),
        *_chart(results, "overfitting"),
    ]


def _files(results: PaperResults) -> list[str]:
    first = next(iter(results.files.values()))
    return [
        "## TFRecord files",
        f"One file has {first.images} images, the paper's {published.FILE_IMAGES}. Ours are raw pixels, so that a file "
        "grows with the number of pixels.",
        tables.files_table(results),
        f"Preparing all three resolutions took {results.preparing_seconds:.0f} s for JPEGs of 256 pixels; the paper's "
        f"took {published.PREPARING_MINUTES} minutes for {published.IMAGES:,} PNGs of 1024 pixels at one resolution, "
        f"{published.PREPARED_GIGABYTES} GB.",
    ]


def _setup(results: PaperResults) -> list[str]:
    tools = ", ".join(f"{name} {version}" for name, version in results.tools.items())
    plan = results.plan
    trials = " and ".join(str(count) for count in plan.trials)
    return [
        "## What was run",
        "`make paper FACES=DIR` runs this command. It continues after an interruption, and in a new folder or on "
        "another machine from the results beside this page:",
        f"```\n{results.command}\n```",
        f"Seeds 0 to {plan.seeds - 1}; {trials} trials; seed {plan.seed} for splits, flips and searches. "
        f"{results.hardware}; {tools}.",
        tables.data_table(results),
        "A part of the training table is kept for calibration elsewhere in this project and not used here. The "
        "faces stand in for the paper's and differ from them: several generators instead of one, a smaller share with "
        f"glasses ({published.GLASSES:.3f} there), JPEGs of 256 pixels, fewer images, labels given by eye, and a test "
        "split from generators that training never sees. Compare a figure with the floor of its own data set, not with "
        "the paper's.",
        "The flipped labels are chosen at random among all images, with glasses or without. The paper's wrong labels "
        "are probably not, as its log loss shows.",
    ]


def _chart(results: PaperResults, name: str) -> list[str]:
    """Reference a chart that `charts` draws for these results."""
    drawn = name == "overfitting" and results.labels["flipped"].history
    series = name.removesuffix("-accuracy").removesuffix("-log-loss")
    has_series = any(series in results.labels[kind].series for kind in KINDS)
    return [f"![{_CHARTS[name]}]({FOLDER}/{name}.png)"] if drawn or has_series else []
