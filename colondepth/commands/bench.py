"""`colondepth bench`: how fast is it here? Packages bring what they measure.

A benchmark is an entry point of the group `colondepth.benchmarks`, a function as commands are.
"""

import typer

from colondepth.mounting import mount
from colondepth.plugins import Plugins

benchmarks = Plugins("colondepth.benchmarks", kind="benchmark")


def group() -> typer.Typer:
    """Mount every installed benchmark; one that cannot be imported is there and says why."""
    found = typer.Typer(no_args_is_help=True, help="Measure how fast this machine does things.")
    found.callback()(_root)
    mount(found, benchmarks)
    return found


def _root() -> None:
    """Measure how fast this machine does things."""


app = group()
