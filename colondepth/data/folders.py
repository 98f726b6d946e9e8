"""Folders as readers see them: every folder listed once, names in natural order.

A network drive answers slowly and a dataset may have 100,000 files, so a tree is listed a single
time, with the sizes that the listing brings, and every reader looks at that list.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from colondepth.data.reading import Opening
from colondepth.errors import DataError

# EndoSLAM, unpacked twice, is the deepest known layout: UnityCam/Colon/Frames/Frames.
DEEPEST = 6
# No dataset has as many; a home folder has, and its listing would take minutes.
MOST_FOLDERS = 20_000
_NOT_DATA = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_NUMBER = re.compile(r"(\d+)")


class File(NamedTuple):
    """A file that a listing found."""

    path: str
    size: int  # bytes

    @property
    def name(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path)  # noqa: PTH119 - Path is ten times as slow


@dataclass(frozen=True, eq=False)
class Folder:
    """A listed folder; `files` by name and `folders` by name, each in natural order."""

    path: Path
    files: Mapping[str, File]
    folders: Mapping[str, "Folder"]

    @cached_property
    def shapes(self) -> frozenset[str]:
        """The names of the files with every number replaced by #."""
        return frozenset(_NUMBER.sub("#", name) for name in self.files)

    def has_any(self, suffixes: tuple[str, ...]) -> bool:
        """Return whether a file ends in one of these, in small or capital letters."""
        return any(shape.lower().endswith(suffixes) for shape in self.shapes)

    def below(self) -> Iterator["Folder"]:
        """Give this folder and every one below it, parents first."""
        yield self
        for folder in self.folders.values():
            yield from folder.below()

    def numbered(self, pattern: str) -> dict[int, File]:
        """Return the files whose whole name fits, by the number that its one group holds."""
        found: dict[int, File] = {}
        fits = re.compile(pattern).fullmatch
        for name, file in self.files.items():
            if match := fits(name):
                number = int(match.group(1))
                if number in found:
                    raise DataError(
                        f"{self.path}: {found[number].name} and {name} are both frame {number};"
                        " remove one"
                    )
                found[number] = file
        return found


def natural_key(name: str) -> list[str | int]:
    """Return what to sort by so that frame_10 comes after frame_9."""
    parts: list[str | int] = list(_NUMBER.split(name))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts


def exists(path: Path) -> bool:
    """Return whether there is something of this name; what cannot be asked for is an error."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:  # a name that is too long, a loop, a locked folder above
        raise DataError(f"{path} cannot be reached: {error.strerror}") from error
    return True


def list_folder(path: Path, opening: Opening, *, deepest: int = DEEPEST) -> Folder:
    """List a folder and those below it, each once; what cannot be listed is bad.

    Args:
        path: the folder.
        opening: says what becomes of what is bad.
        deepest: folders further below are not looked at.
    """
    if not exists(path):
        raise DataError(f"{path} does not exist; expected the folder of a dataset")
    if not path.is_dir():
        raise DataError(f"{path} is a file; expected the folder of a dataset")
    count = [0]
    listed = _listed(path, opening, above=frozenset(), count=count, deepest=deepest)
    if listed is None:
        raise DataError(f"{path} cannot be listed: {opening.skipped[-1].reason}")
    return listed


def _listed(
    path: Path,
    opening: Opening,
    *,
    above: frozenset[tuple[int, int]],
    count: list[int],
    deepest: int,
) -> Folder | None:
    files: dict[str, File] = {}
    folders: list[str] = []
    count[0] += 1
    if count[0] > MOST_FOLDERS:
        raise DataError(f"{path}: more than {MOST_FOLDERS} folders; point nearer to the dataset")
    try:
        status = path.stat()
        own = (status.st_dev, status.st_ino)
        if own in above:
            opening.bad(path, "a link that leads back to a folder above it")
            return None
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _NOT_DATA:
                    continue
                try:
                    if entry.is_dir():
                        folders.append(entry.name)
                    else:
                        files[entry.name] = File(entry.path, entry.stat().st_size)
                except OSError as error:  # a link to nothing, or to itself
                    opening.bad(entry.path, f"cannot be followed: {error.strerror}")
    except OSError as error:
        opening.bad(path, f"cannot be listed: {error.strerror}")
        return None
    if len(above) >= deepest:
        folders = []
    children = {
        name: _listed(path / name, opening, above=above | {own}, count=count, deepest=deepest)
        for name in sorted(folders, key=natural_key)
    }
    return Folder(
        path,
        {name: files[name] for name in sorted(files, key=natural_key)},
        {name: child for name, child in children.items() if child is not None},
    )
