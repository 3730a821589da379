"""Fuzz one target with atheris: `python -m tests.fuzz.run png --seconds 60`.

Without a time it ends after a fixed number of inputs. Inputs that add coverage are kept in `runs/fuzz/TARGET/corpus`,
where the next run continues; a failing input is stored in `runs/fuzz/TARGET`, with its path in the last lines of the
output. `--minimize` adds inputs to `tests/fuzz/corpus/TARGET` that cover more than the committed ones, as few and as
small as possible.
"""

import argparse
import hashlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType

TARGETS = {
    "header": ["gate"],
    "multipart": ["python_multipart", "service.api.batch"],
    "png": ["gate"],
    "tar": ["common", "service.api.batch"],
    "v2": ["service.api.v2"],
}
"""Each target with its instrumented packages; instrumentation must precede the import of a target."""

INPUTS = {"header": 60_000, "multipart": 25_000, "png": 15_000, "tar": 20_000, "v2": 200_000}
"""Inputs of a run without a time: with a seed its result is the same on a machine of any speed."""

COMMITTED = Path(__file__).with_name("corpus")
KEPT = Path("runs/fuzz")

_SECONDS_PER_INPUT = 5
_MEGABYTES = 1_024


def load(name: str) -> ModuleType:
    """A target: `check`, `seeds`, `MAX_BYTES`, and `WORDS` that mutations may put in."""
    return importlib.import_module(f"tests.fuzz.{name}")


def inputs_of(name: str) -> list[bytes]:
    """The drawn seeds and the committed inputs."""
    committed = sorted((COMMITTED / name).glob("*"))
    return [*load(name).seeds(), *(path.read_bytes() for path in committed)]


def main() -> None:
    """Fuzz until the time or the inputs are over or a promise is broken; the exit status says which."""
    parser = argparse.ArgumentParser(description="fuzzes one parser of untrusted bytes")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, help="how long (a fixed number of inputs)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations; 0 takes another one each time (0)")
    parser.add_argument(
        "--minimize",
        action="store_true",
        help="add the coverage of the kept corpus to the committed one, and do not fuzz",
    )
    options, worker = parser.parse_known_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (its wheels are for Linux on x86-64): only the known inputs are checked")
        for data in inputs_of(options.target):
            load(options.target).check(data)
        return
    _fuzz(options.target, options.seconds, seed=options.seed, is_merge=options.minimize, worker=worker)


def _fuzz(name: str, seconds: int | None, *, seed: int, is_merge: bool, worker: Sequence[str]) -> None:
    """Run libFuzzer in this process; to merge, it starts this command again with the flags of a `worker`."""
    atheris = importlib.import_module("atheris")
    logging.disable()  # Parsers log faults of their input, which would flood the output here.
    with atheris.instrument_imports(include=TARGETS[name]):
        target = load(name)
    folder = KEPT / name
    drawn = _write(folder / "seeds", target.seeds())
    kept, committed = folder / "corpus", COMMITTED / name
    for path in (kept, committed):
        path.mkdir(parents=True, exist_ok=True)
    limits = [f"-timeout={_SECONDS_PER_INPUT}", f"-rss_limit_mb={_MEGABYTES}", f"-max_len={target.MAX_BYTES}"]
    words = _write_words(folder / "words", target.WORDS)
    end = f"-runs={INPUTS[name]}" if seconds is None else f"-max_total_time={seconds}"
    todo = ["-set_cover_merge=1", committed, kept] if is_merge else [end, kept, drawn, committed]
    arguments = [
        f"{sys.executable} -m tests.fuzz.run {name}",
        *limits,
        f"-artifact_prefix={folder}/",
        f"-dict={words}",
        f"-seed={seed}",
        "-print_final_stats=1",
        *map(str, todo),
    ]
    atheris.Setup([arguments[0], *worker] if worker else arguments, _keeping(target.check, folder))
    atheris.Fuzz()


def _keeping(check: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """Store a failing input first: libFuzzer's alarm may end Python at any time."""

    def checked(data: bytes) -> None:
        try:
            check(data)
        except BaseException:
            (folder / f"failed-{_name(data)}").write_bytes(data)
            raise

    return checked


def _write_words(path: Path, words: Iterable[bytes]) -> Path:
    """A dictionary as libFuzzer reads it: every byte as its number."""
    lines = ("".join(rf"\x{byte:02x}" for byte in word) for word in words)
    path.write_text("".join(f'"{line}"\n' for line in lines))
    return path


def _write(folder: Path, seeds: Iterable[bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (folder / _name(data)).write_bytes(data)
    return folder


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    main()
