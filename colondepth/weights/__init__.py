"""The weights that come in the package, and whether they are whole.

`SHA256SUMS` beside this file holds a line "<digest>  <file>" for each, as `sha256sum` writes it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from colondepth.errors import DataError

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ShippedWeights:
    """One file of weights and the digest that it was shipped with."""

    path: Path
    sha256: str

    def check(self) -> None:
        """Raise if the file is missing or is not the one that was shipped."""
        if not self.path.is_file():
            raise DataError(f"{self.path} is missing; reinstall colondepth")
        with self.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise DataError(
                f"{self.path} has SHA-256 {found[:12]}..., expected {self.sha256[:12]}...;"
                " it is damaged: reinstall colondepth"
            )


def shipped(folder: Path = FOLDER) -> tuple[ShippedWeights, ...]:
    """Return the weights that `folder` promises, in the order of its SHA256SUMS."""
    promised = folder / "SHA256SUMS"
    if not promised.is_file():
        return ()
    weights = []
    for number, line in enumerate(promised.read_text(encoding="utf-8").splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or Path(name).name != name:
            raise DataError(f"{promised}, line {number}: {line!r} is not '<digest>  <file>'")
        weights.append(ShippedWeights(folder / name, digest))
    return tuple(weights)
