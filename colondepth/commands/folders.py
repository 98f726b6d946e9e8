"""The folder that a command writes into, looked at before any work is done."""

import os
from pathlib import Path

from colondepth.errors import DataError


def require_folder(folder: Path, *, option: str = "--out", of: str = "new or not") -> None:
    """Refuse a folder that cannot be one, or that nothing can be written into.

    Args:
        folder: it need not exist.
        option: that names it.
        of: which folders are expected.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = "is" if there == folder else f"lies below {there}, which is"
        raise DataError(f"{option} {folder} {what} a file; expected a folder, {of}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DataError(f"{option} {folder}: {there} is a folder that you may not write into")
