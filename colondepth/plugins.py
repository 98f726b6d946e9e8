"""Things that any installed package may add, found through its entry points.

Commands (group `colondepth.commands`) and backbones (group `colondepth.backbones`) come in by this
one door. Names are read from the installed packages' metadata; nothing is imported until asked for.
"""

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from colondepth.errors import DuplicateNameError, PluginError, UnknownNameError


class Plugins:
    """The names of one entry-point group, each with one owner."""

    def __init__(self, group: str, *, kind: str) -> None:
        self.group = group
        self.kind = kind

    def names(self) -> tuple[str, ...]:
        """Return every name, sorted."""
        return tuple(sorted(self._entries()))

    def owner(self, name: str) -> str:
        """Return the name and version of the package that brought `name`."""
        entry = self._find(name)
        return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed package"

    def load(self, name: str) -> Any:
        """Import what `name` stands for; a misspelt name is answered with the nearest right one."""
        entry = self._find(name)
        try:
            return entry.load()
        except Exception as error:
            raise PluginError(
                f"the {self.kind} {name!r} of {self.owner(name)} cannot be loaded from"
                f" {entry.value}: {type(error).__name__}: {error}; update or uninstall that package"
            ) from error

    def _find(self, name: str) -> EntryPoint:
        entries = self._entries()
        if name not in entries:
            close = get_close_matches(name, entries, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(sorted(entries)) or "none is installed"
            raise UnknownNameError(f"no {self.kind} is called {name!r}.{hint} Known: {known}.")
        return entries[name]

    def _entries(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            rival = found.setdefault(entry.name, entry)
            # The same line twice is one package seen in two folders of the path.
            if rival.value != entry.value:
                raise DuplicateNameError(
                    f"two packages bring a {self.kind} called {entry.name!r}: {rival.value} and"
                    f" {entry.value}; uninstall one"
                )
        return found
