"""What was removed from a file, written beside its copy as NAME.removed.json.

A copy and its log are each written whole, the log last and with the checksums of the copy and of
what it was made from. So a run that was stopped is taken up by asking which copies stand. A
checksum names nobody: it fits only who has the original.
"""

import hashlib
import json
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from colondepth.atomic import written_whole
from colondepth.deidentification import Removed
from colondepth.errors import DataError

ENDING = ".removed.json"


def write_log(source: Path, target: Path, removed: Removed) -> None:
    """Write the log of a finished copy."""
    log = {**_fingerprint(source, target), "copy": target.name, **asdict(removed)}
    with written_whole(_log_of(target)) as temporary:
        temporary.write_text(json.dumps(log, indent=2) + "\n", encoding="utf-8")


def read_finished(source: Path, target: Path) -> Removed | None:
    """Return what the log of a copy says; None unless it is whole and made of this very source.

    A copy by another version of this program counts as none: it may have found less.
    """
    try:
        log = json.loads(_log_of(target).read_text(encoding="utf-8"))
        finger = _fingerprint(source, target)
        if any(log[name] != value for name, value in finger.items()):
            return None
        return Removed(**{field.name: log[field.name] for field in fields(Removed)})
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no log, half a log, another program's file: the copy is made again


def require_other(source: Path, target: Path) -> None:
    """Check that a copy does not take the place of its original."""
    if source.resolve() == target.resolve():
        raise DataError(f"{target} is the original itself; give the copy another name")


def _fingerprint(source: Path, target: Path) -> dict[str, str]:
    return {
        "version": version("colondepth"),
        "copy_sha256": _sha256(target),
        "original_sha256": _sha256(source),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _log_of(target: Path) -> Path:
    return target.with_name(target.name + ENDING)
