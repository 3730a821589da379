"""Arguments of command lines."""

import argparse
from typing import Any


class StoreOnce(argparse.Action):
    """Store a list or an object; a second one is an error, because it would replace the first without a word."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Store the value.

        Raises:
            ArgumentError: there is one already.
        """
        if getattr(namespace, self.dest) != self.default:
            raise argparse.ArgumentError(
                self, "is given twice, and the last would replace the first: put both values into one"
            )
        setattr(namespace, self.dest, values)
