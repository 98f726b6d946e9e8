"""Which reader a folder is for: told from its files, or by name."""

import importlib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Protocol, cast

from colondepth.data.folders import Folder
from colondepth.data.reading import Opening
from colondepth.errors import DataError, UnknownNameError
from colondepth.views import Clip

# Imported when asked for. Plain comes last: any folder of images is one.
FOLDER_READERS = {
    "c3vd": "colondepth.data.c3vd",
    "endomapper": "colondepth.data.endomapper",
    "endoslam": "colondepth.data.endoslam",
    "ruano": "colondepth.data.ruano",
    "segmentation": "colondepth.data.segmentation",
    "shards": "colondepth.data.shards",
    "simcol3d": "colondepth.data.simcol3d",
    "ucl": "colondepth.data.ucl",
    "plain": "colondepth.data.plain",
}
FILE_READERS = ("dicom", "video")


class Reader(Protocol):
    """What a module of this package offers when it reads the folders of one dataset."""

    LOOKS_FOR: str

    def sequences(self, root: Folder) -> Iterator[object]:
        """Give something for every sequence that this reader sees; nothing is opened."""
        ...

    def read(self, root: Folder, opening: Opening) -> list[Clip]:
        """Open everything that `sequences` gives."""
        ...


def names() -> tuple[str, ...]:
    """Return what `dataset` may be."""
    return tuple(sorted([*FOLDER_READERS, *FILE_READERS]))


def require_name(name: str) -> None:
    """Check the name of a dataset; a misspelt one is answered with the nearest."""
    if name not in names():
        close = get_close_matches(name, names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownNameError(f"no dataset is called {name!r}.{hint} Known: {', '.join(names())}.")


def reader(name: str) -> Reader:
    """Import the reader of a kind of folder."""
    return cast(Reader, importlib.import_module(FOLDER_READERS[name]))


def recognise(root: Folder) -> str:
    """Tell the dataset from the files of a folder; plain images are what nothing else claims."""
    fits = [name for name in FOLDER_READERS if any(True for _ in reader(name).sequences(root))]
    special = [name for name in fits if name != "plain"]
    if len(special) > 1:
        raise DataError(
            f"{root.path} fits several datasets: {', '.join(special)}; say which with dataset="
            f"{special[0]!r} (--dataset {special[0]}), or point at one of its folders"
        )
    if fits:
        return fits[0]
    looked = "; ".join(f"{name}: {reader(name).LOOKS_FOR}" for name in FOLDER_READERS)
    inside = sorted(name for folder in root.below() for name in folder.shapes)
    holds = f"holds {inside[:5]}" if inside else "is empty"
    raise DataError(f"{root.path} {holds}, which no reader knows. Looked for: {looked}")


def require_sequences(name: str, root: Folder) -> None:
    """Check that a folder that is said to be a dataset has something of it."""
    if not any(True for _ in reader(name).sequences(root)):
        raise DataError(f"{root.path} is not {name}; looked for {reader(name).LOOKS_FOR}")
