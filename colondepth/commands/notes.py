"""What several commands tell the user about the data beside their answer, on stderr."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from colondepth.console import err

if TYPE_CHECKING:
    from torch import Tensor

    from colondepth.data import Skipped


class TextWatch:
    """Counts pictures with on-screen text among those that a command writes."""

    def __init__(self) -> None:
        self.seen = self.lettered = 0

    def look(self, image: "Tensor") -> bool:
        """Look at a picture (3, H, W) of the input that is to be written; say if it has text."""
        from colondepth.deidentification import shows_text

        found = shows_text(image)
        self.seen += 1
        self.lettered += found
        return found

    def tell(self) -> None:
        """Warn if any had text."""
        if self.lettered:
            err.print(
                f"[yellow]note[/yellow] {self.lettered} of {self.seen} images have on-screen text,"
                " which may name a patient; `colondepth deidentify` blanks it",
                highlight=False,
                soft_wrap=True,
            )


def tell_skipped(skipped: "Sequence[Skipped]") -> None:
    """List what --skip-bad left out."""
    for each in skipped:
        line = f"{each.path}: {each.reason}"
        err.print("[yellow]skipped[/yellow] ", end="", highlight=False)
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    if skipped:
        err.print(f"{len(skipped)} skipped", highlight=False)
