"""`colondepth bench`: how fast is it here? Packages bring what they measure.

A benchmark is an entry point of the group `colondepth.benchmarks`, a function as commands are.
"""

from collections.abc import Callable

import typer

from colondepth.errors import PluginError
from colondepth.plugins import Plugins

benchmarks = Plugins("colondepth.benchmarks", kind="benchmark")


def group() -> typer.Typer:
    """Mount every installed benchmark; one that cannot be imported is there and says why."""
    found = typer.Typer(no_args_is_help=True, help="Measure how fast this machine does things.")
    found.callback()(_root)
    for name in benchmarks.names():
        try:
            command = benchmarks.load(name)
        except PluginError as error:
            command = _broken(error)
        found.command(name)(command)
    return found


def _root() -> None:
    """Measure how fast this machine does things."""


def _broken(error: PluginError) -> Callable[[], None]:
    def broken() -> None:
        raise error

    broken.__doc__ = f"Cannot be used: {error}"
    return broken


app = group()
