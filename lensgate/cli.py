"""The commands. A command's modules are imported only when that command runs.

This module imports none of the packages that take long: Ctrl-C meanwhile would show a traceback.
"""

import argparse
import contextlib
import importlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from common import signals
from common.terminal import say
from common.thread_limit import explained_thread_limit
from lensgate.parser import Parser
from lensgate.streams import close_output, open_closed
from lensgate.taken_names import describe_taken_name
from service.process.signals import guard_start

# The extra that provides each module, for the hint if it is missing.
EXTRAS = {
    "fastapi": "service",
    "orjson": "service",
    "python_multipart": "service",
    "sqlalchemy": "service",
    "starlette": "service",
    "uvicorn": "service",
    "prometheus_client": "service",
    "onnxruntime": "cpu",  # or gpu
    "google": "cpu",  # protobuf, which onnxruntime needs too.
    "opentelemetry": "tracing",
    "pyarrow": "bulk",
    "fsspec": "bulk",
    "s3fs": "bulk",
    "gcsfs": "bulk",
    "ray": "ray",
    "tensorflow": "training",
    "keras": "training",
    "keras_tuner": "training",
    "cleanlab": "training",
    "imagehash": "training",
    "matplotlib": "training",
    "onnx": "training",
    "scipy": "training",
    "skimage": "training",
    "sklearn": "training",
    "tf2onnx": "training",
    "tqdm": "training",
}

# Command -> (module, whose `add_options` adds its options, and one line for --help).
COMMANDS = {
    "serve": ("service.cli", "run the service: decisions over HTTP, records, review, metrics"),
    "classify": ("lensgate.classify", "decide about image files, in this process"),
    "bulk": ("bulk.cli", "decide about millions of files, shards or rows"),
    "models": ("lensgate.models", "list, verify, promote and roll back exported models"),
    "certify": ("lensgate.certify", "certify the band again from the verdicts in the records"),
    "tokens": ("lensgate.tokens", "create, list and revoke access tokens of the service"),
    "train": ("training.cli", "train and export a model, step by step"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 for a reported error, 2 for wrong usage, 128 + n for signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not end a run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with explained_thread_limit():
            _guard_start(arguments)
            return _run(arguments)
    except KeyboardInterrupt as stopped:
        return _status(stopped)
    except BrokenPipeError:
        return close_output()
    except Exception as error:
        # A compiled module that is interrupted while it is imported raises an ImportError.
        if (cause := _interruption(error)) is not None:
            return _status(cause)
        text = _report(error)
        if text is None:
            raise
        return _fail(text)


def _guard_start(arguments: Sequence[str]) -> None:
    """Handle signals before the command's packages are imported: that takes half a second and starts threads."""
    if arguments[:1] == ["serve"]:
        guard_start()
    else:
        signals.guard_start()


def _run(arguments: Sequence[str]) -> int:
    with signals.ended_at_once():
        options = parse(arguments)
        _warn_of_variables(options.command_name)
    # The service handles signals itself.
    with contextlib.nullcontext() if options.command_name == "serve" else _stopped_by_signals():
        status: int | None = options.run(options)
        sys.stdout.flush()
    return status or 0


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let TERM and HUP stop the command as Ctrl-C does, which keeps finished work; ignore USR2."""
    with signals.handled({signal.SIGUSR2: signal.SIG_IGN}), signals.interruptible((signal.SIGTERM, signal.SIGHUP)):
        yield


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error


def _status(stopped: KeyboardInterrupt) -> int:
    """Return the status that the signal asks for; Python's own handler of Ctrl-C sets none."""
    return int(getattr(stopped, "status", 130))


def _report(error: Exception) -> str | None:
    """Return the line about an error that users can correct; None if the program is at fault."""
    if (text := describe_taken_name(error)) is not None:
        return text
    from gate.errors import GateError
    from gate.extras import how_to_install

    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        return None if extra is None else f"this command needs {error.name}: {how_to_install(extra)}"
    if isinstance(error, FileNotFoundError) and error.filename is None and _is_current_folder_removed():
        return "the current folder was removed: change to another one"
    return str(error) if isinstance(error, GateError | OSError) else None


def _is_current_folder_removed() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - The path is not used.
    except FileNotFoundError:
        return True
    return False


def _without_passwords(arguments: Sequence[str]) -> Sequence[str]:
    """Return the arguments without the passwords in their URLs: every caller of a service can read the card."""
    if not any("://" in each for each in arguments):
        return arguments
    from common.storage import without_secrets  # Takes a second, and only URLs need it.

    return [without_secrets(each) for each in arguments]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command; `run` is the function that carries it out."""
    parser = Parser(
        prog="lensgate",
        description="The quality gate of a GAN image pipeline.",
        epilog="Every command explains its options: lensgate COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"lensgate {version('lensgate')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for name, (_, title) in COMMANDS.items():
        commands.add_parser(name, help=title, add_help=False)
    chosen = parser.parse(arguments[:1]).command
    module, title = COMMANDS[chosen]
    command = Parser(prog=f"lensgate {chosen}", description=title)
    importlib.import_module(module).add_options(command)
    command.set_defaults(command_name=chosen)
    # A model's card records the command that made it.
    line = shlex.join(["lensgate", *_without_passwords(arguments)]).encode(errors="backslashreplace").decode()
    command.set_defaults(command_line=line)
    return command.parse(arguments[1:])


def _warn_of_variables(command: str) -> None:
    # The service logs these warnings itself.
    if command == "serve":
        return
    from common.settings import doubtful_variables
    from service.settings import Settings

    for warning in doubtful_variables(os.environ, Settings.variables().values()):
        say(f"lensgate: warning: {warning}", error=True)


def _fail(text: str) -> int:
    say(f"lensgate: {text}", error=True)
    return 1
