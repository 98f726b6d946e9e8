"""Commands that packages bring, mounted on a command line."""

from collections.abc import Callable

import typer

from colondepth.errors import PluginError
from colondepth.plugins import Plugins


def mount(app: typer.Typer, plugins: Plugins) -> None:
    """Mount every installed command; one that cannot be imported is there and says why."""
    for name in plugins.names():
        try:
            command = plugins.load(name)
        except PluginError as error:
            command = _broken(error)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def _broken(error: PluginError) -> Callable[[], None]:
    def broken() -> None:
        raise error

    broken.__doc__ = f"Cannot be used: {error}"
    return broken
