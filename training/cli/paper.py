"""The step that repeats the paper's experiments: `paper`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from common.storage import locked, require_place
from common.terminal import printable, say
from training.cli import options as option
from training.cli.options import Steps, add_step

TRIALS = (5, 20)


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """The options of `paper`."""

    data: Path
    work: Path
    out: Path
    seeds: int
    trials: tuple[int, ...] | None
    flipped: float
    seed: int
    hardware: str | None
    page: bool
    command_line: str


def add_to(steps: Steps) -> None:
    """Add this step."""
    add_step(
        steps,
        "paper",
        title="repeat the paper's experiments with several seeds and write a page that compares the figures",
        options=PaperOptions,
        run=run,
        arguments=[option.seed, _arguments],
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=option.local, required=True, metavar="DIR", help="data set in the Kaggle layout")
    title = "folder for records and trials; finished parts there are kept (runs/paper)"
    add("--work", type=option.local, default=Path("runs/paper"), metavar="DIR", help=title)
    title = "folder for paper.md and its images; its paper/results.json is continued by a new --work folder (docs)"
    add("--out", type=option.local, default=Path("docs"), metavar="DIR", help=title)
    add("--seeds", type=option.positive, default=3, metavar="NUMBER", help="training runs for each value and model (3)")
    title = "trials of a random search; may be repeated: a longer search continues the shorter one (5 and 20)"
    add("--trials", type=option.positive, action="append", metavar="NUMBER", help=title)
    title = "share of the labels to flip in the second half of the experiments (0.116)"
    add("--flipped", type=option.share, default=0.116, metavar="SHARE", help=title)
    add("--hardware", type=printable, metavar="TEXT", help="machine that the page states (number of CPU cores)")
    add("--page", action="store_true", help="only write the page, from the parts that are finished")


def run(options: PaperOptions) -> None:
    """Run the unfinished experiments and write the page."""
    from training.paper.page import FOLDER, PAGE_FILE, write_page
    from training.paper.results import RESULTS_FILE, PaperPlan, PaperResults

    if options.page:
        results = PaperResults.read(options.work / RESULTS_FILE)
    else:
        from training.paper.driver import PaperRun

        plan = PaperPlan(
            seeds=options.seeds,
            trials=tuple(sorted(set(options.trials or TRIALS))),
            share=options.flipped,
            seed=options.seed,
        )
        earlier = options.out / FOLDER / RESULTS_FILE
        require_place(options.out / PAGE_FILE)
        require_place(earlier)
        with locked(options.work):
            results = PaperRun(options.data, options.work, plan, options.command_line, options.hardware, earlier).run()
    changed = write_page(results, options.out)
    say(f"{options.out / 'paper.md'} {'is written' if changed else 'is up to date'}")
    for part in results.unfinished():
        say(f"not finished: {part}")
