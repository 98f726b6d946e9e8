"""What every command shares: answers on stdout, progress on stderr, and a word after Ctrl-C."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

out, err = Console(), Console(stderr=True)


class InterruptedWorkError(KeyboardInterrupt):
    """Ctrl-C in the middle of work that can be taken up again; the message says how."""


def print_json(answer: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print an answer for a script: JSON on stdout, never wrapped or coloured."""
    out.print(json.dumps(answer, indent=2), soft_wrap=True, highlight=False, markup=False)


def progress() -> "Progress":
    """Return a progress bar with the time left, on stderr, gone when the work is done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )


@contextmanager
def resumable(cure: str) -> Iterator[None]:
    """Say `cure` when Ctrl-C ends the block, as in "the same command goes on at frame 120"."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise InterruptedWorkError(cure) from stop
